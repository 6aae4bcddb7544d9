"""float32 that secretly is less: float16, bfloat16, or small integers times a scale.

Each is recognised by making the float32 anew and comparing every bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lissom.storage.bits import Cursor, varint
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand

Encode = Callable[[Bytes], bytes]
EncodePlane = Callable[[Bytes, int], bytes]

FLOAT16, BFLOAT16 = 0, 1
BY_ROW, BY_COLUMN = 0, 1
SAMPLE = 4096
SMALLEST_STEPS = 8
# Of a line, so many values tell whether it is worth a look.
FIRST = 32
# The integer that stands for -0.0, which rounding gives and no integer is.
NEGATIVE_ZERO = {1: -128, 2: -32768}


def narrowed(data: Bytes) -> tuple[int, Bytes] | None:
    """The kind and the bytes of the float16 or bfloat16 that float32 data hold, or None."""
    bits = data.view("<u4")
    if not (bits & 0xFFFF).any():
        return BFLOAT16, (bits >> 16).astype("<u2").view(np.uint8)
    for part in (bits[:SAMPLE], bits):
        values = part.view("<f4")
        if np.isnan(values).any():
            return None
        with np.errstate(over="ignore"):
            half = values.astype("<f2")
        if not np.array_equal(half.astype("<f4").view("<u4"), part):
            return None
    return FLOAT16, half.view(np.uint8)


def widened(kind: int, narrow: bytes) -> bytes:
    """The coding of float32 that holds `narrow`, already coded."""
    return bytes([Tag.WIDENED, kind]) + narrow


def decode_widened(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read float32 that holds float16 or bfloat16."""
    kind = cursor.byte()
    demand(kind in (FLOAT16, BFLOAT16) and out.size % 4 == 0, "narrow floats do not fit")
    half = child(cursor, out.size // 2, read)
    values = np.frombuffer(out.data, "<u4")
    if kind == BFLOAT16:
        values[:] = half.view("<u2")
        values <<= np.uint32(16)
    else:
        values.view("<f4")[:] = half.view("<f2")


def encode_scaled(data: Bytes, columns: int, floats: Encode, plane: EncodePlane) -> bytes | None:
    """float32 as integers of one or two bytes times a scale a row, or a column, or None."""
    values = data.view("<f4")
    if values.size % columns or not np.isfinite(values[:SAMPLE]).all():
        return None
    matrix = values.reshape(-1, columns)
    for axis in (BY_ROW, BY_COLUMN):
        lines = matrix if axis == BY_ROW else matrix.T
        if lines.shape[1] < 16 or not _plausible(np.ascontiguousarray(lines[0])):
            continue
        scales = _scales(np.ascontiguousarray(lines))
        if scales is None:
            continue
        scale = scales[:, None] if axis == BY_ROW else scales[None]
        codes = np.rint(matrix / scale)
        width = 1 if np.abs(codes).max() <= 127 else 2
        integers = codes.astype(f"<i{width}")
        integers[(codes == 0) & np.signbit(matrix)] = NEGATIVE_ZERO[width]
        head = bytes([Tag.SCALED, axis, width]) + varint(columns)
        coded = integers.reshape(-1).view(np.uint8)
        return head + floats(scales.view(np.uint8)) + plane(coded, width)
    return None


def _plausible(line: NDArray[np.float32]) -> bool:
    """Whether some scale makes the first values of a line integers; no is certain."""
    size = np.abs(line)
    smallest = size[size > 0].min(initial=np.inf)
    if not np.isfinite(smallest):
        return bool(smallest == np.inf)
    scale = np.array(list(_candidates(smallest.reshape(1))))
    first = line[:FIRST]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return bool((np.rint(first / scale) * scale == first).all(axis=1).any())


def _scales(lines: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """A scale for each line that makes all of it integers below 2^15, or None."""
    size = np.abs(lines)
    smallest = np.where(size > 0, size, np.inf).min(axis=1, initial=np.inf)
    if not np.isfinite(size).all():
        return None
    scales = np.ones(len(lines), np.float32)
    open_lines = np.flatnonzero(np.isfinite(smallest))
    for candidate in _candidates(smallest):
        if open_lines.size == 0:
            break
        scale = candidate[open_lines]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            codes = np.rint(lines[open_lines] / scale[:, None])
            fits = (codes * scale[:, None] == lines[open_lines]).all(axis=1)
            fits &= (np.abs(codes) < 32768).all(axis=1) & (scale > 0)
        scales[open_lines[fits]] = scale[fits]
        open_lines = open_lines[~fits]
    return None if open_lines.size else scales


def _candidates(smallest: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Scales of which the smallest weight is a small multiple; rounding may hide it by one ulp."""
    for multiple in range(1, SMALLEST_STEPS + 1):
        scale = smallest / np.float32(multiple)
        yield scale
        yield np.nextafter(scale, np.float32(0))
        yield np.nextafter(scale, np.float32(np.inf))


def decode_scaled(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read integers times a scale a row or a column."""
    axis, width, columns = cursor.byte(), cursor.byte(), cursor.varint()
    size = out.size // 4
    demand(axis in (BY_ROW, BY_COLUMN) and width in (1, 2), "scaled integers of an unknown kind")
    demand(out.size % 4 == 0 and 0 < columns <= max(size, 1), "scaled integers do not fit")
    demand(size % columns == 0, "scaled integers do not fit")
    rows = size // columns
    scales = child(cursor, 4 * (rows if axis == BY_ROW else columns), read).view("<f4")
    integers = child(cursor, size * width, read).view(f"<i{width}").reshape(rows, columns)
    values = np.frombuffer(out.data, "<f4").reshape(rows, columns)
    values[:] = integers
    with np.errstate(over="ignore", invalid="ignore"):
        values *= scales[:, None] if axis == BY_ROW else scales[None]
    values[integers == NEGATIVE_ZERO[width]] = -0.0
