"""From a block's type to the codings worth trying, and the smallest of them."""

from __future__ import annotations

from collections.abc import Callable

from lissom.storage import rans
from lissom.storage.coding import (
    groups,
    narrow,
    nibbles,
    palette,
    plain,
    planes,
    predicted,
    records,
    sparse,
    symbols,
)
from lissom.storage.coding.node import Bytes
from lissom.storage.frequencies import entropy_bits

FLOATS = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
INTEGERS = {"I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}
SUB_BYTE = {"I4": 2, "U4": 2, "F4": 2, "I2": 4, "U2": 4}
# What a byte of these types is without weight.
CENTRES = {"I8": 0, "U8": 128}
SMALL = 1 << 12
# Of the entropy of bytes: groups that leave no more of it are not compared with anything else.
WELL_GROUPED = 0.9


def encode(data: Bytes, dtype: str, columns: int, taps: int = 0) -> bytes:
    """The smallest coding of a block.

    `columns` is the length of a row in elements, `taps` that of a convolution's kernel; 0 where
    it is not known.
    """
    coded = _by_type(data, dtype, columns, taps)
    return coded if len(coded) <= data.size else plain.encode_raw(data)


def _by_type(data: Bytes, dtype: str, columns: int, taps: int) -> bytes:
    dtype = {"GGUF:F32": "F32", "GGUF:F16": "F16", "GGUF:BF16": "BF16"}.get(dtype, dtype)
    width = FLOATS.get(dtype) or INTEGERS.get(dtype) or 1
    if data.size == 0 or data.size % width:
        return symbols.encode(data)
    if dtype in FLOATS:
        return _floats(data, width, columns)
    if dtype in INTEGERS:
        return _integers(data, width, columns)
    if dtype in records.FIELDS and data.size % records.block_size(dtype) == 0:
        per_row = columns if columns % records.block_size(dtype) == 0 else 0
        return records.encode(data, dtype, per_row, _field)
    if dtype in SUB_BYTE:
        columns //= SUB_BYTE[dtype]
        return _smallest(symbols.encode(data, columns), nibbles.encode(data, columns))
    grouped = groups.encode(data, 1, _bytes, _wide) if dtype in CENTRES else None
    if grouped and len(grouped) < WELL_GROUPED * entropy_bits(rans.count(data)) / 8:
        return grouped
    found = [grouped]
    if dtype in CENTRES:
        found.append(predicted.encode(data, taps, CENTRES[dtype], columns))
        if found[-1] is not None and data.size >= SMALL:
            return _smallest(*found)  # what prediction leaves is smaller, whatever codes the rest
        found.append(nibbles.encode(data, columns, packed=dtype == "U8"))
    return _smallest(*found, symbols.encode(data, columns))


def _smallest(*codings: bytes | None) -> bytes:
    return min((coding for coding in codings if coding is not None), key=len)


def _floats(data: Bytes, width: int, columns: int, dense: bool = False) -> bytes:
    """Floats that are constant, sparse, of lower precision, few, or none of that."""
    if constant := plain.encode_constant(data, width):
        return constant
    if not dense and (
        coded := sparse.encode(data, width, True, lambda part: _floats(part, width, 0, True))
    ):
        return coded
    found: list[bytes | None] = []
    if width == 4:
        if narrowed := narrow.narrowed(data):
            kind, half = narrowed
            found.append(narrow.widened(kind, _floats(half, 2, columns, True)))
        elif columns > 1:
            found.append(narrow.encode_scaled(data, columns, _scales, _plane(columns)))
    few = palette.encode(data, width, lambda part: _floats(part, width, 0, True), _plane(columns))
    found.append(few)
    if width < 8:
        found.append(groups.encode(data, width, _bytes, _wide))
    if not any(found) or data.size < SMALL:
        found.append(planes.encode(data, width, True, columns))
    if data.size < SMALL:
        found.append(symbols.encode(data))
    return _smallest(*found)


def _bytes(part: Bytes, side: Bytes | None) -> bytes:
    return symbols.encode(part, 0, side, lz=False)


def _wide(part: Bytes, width: int) -> bytes:
    return planes.encode(part, width, False, lz=False) if part.size else plain.encode_raw(part)


def _scales(part: Bytes) -> bytes:
    return _floats(part, 4, 0, True)


def _plane(columns: int) -> Callable[[Bytes, int], bytes]:
    def encode(part: Bytes, width: int) -> bytes:
        if width == 1:
            return _smallest(symbols.encode(part, columns), nibbles.encode(part, columns))
        return planes.encode(part, width, False, columns)

    return encode


def _integers(data: Bytes, width: int, columns: int) -> bytes:
    return _smallest(
        plain.encode_constant(data, width),
        planes.encode(data, width, False, columns),
        symbols.encode(data),
    )


def _field(part: Bytes, half: bool, columns: int) -> bytes:
    if half:
        return _floats(part, 2, columns // 2, True)
    return _smallest(symbols.encode(part, columns), nibbles.encode(part, columns))
