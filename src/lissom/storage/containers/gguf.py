"""Tensors of a GGUF file, version 2 or 3, little-endian.

Source: ggml-org/ggml, docs/gguf.md; sizes of blocks from its table of quantized types.
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from itertools import pairwise

from lissom.storage.containers.ranges import NotThisFormat, TensorRange
from lissom.storage.containers.source import Source, Window

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
LONGEST_TEXT = 1 << 16
MOST_DIMENSIONS = 8

# Bytes of the numeric metadata types: u8 i8 u16 i16 u32 i32 f32 bool, then u64 i64 f64.
NUMBERS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, ARRAY = 8, 9

# By its number: the type's name, values in a block, bytes of a block.
TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("GGUF:Q4_0", 32, 18), 3: ("GGUF:Q4_1", 32, 20),
    6: ("GGUF:Q5_0", 32, 22), 7: ("GGUF:Q5_1", 32, 24), 8: ("GGUF:Q8_0", 32, 34),
    9: ("GGUF:Q8_1", 32, 40), 10: ("GGUF:Q2_K", 256, 84), 11: ("GGUF:Q3_K", 256, 110),
    12: ("GGUF:Q4_K", 256, 144), 13: ("GGUF:Q5_K", 256, 176), 14: ("GGUF:Q6_K", 256, 210),
    15: ("GGUF:Q8_K", 256, 292), 16: ("GGUF:IQ2_XXS", 256, 66), 17: ("GGUF:IQ2_XS", 256, 74),
    18: ("GGUF:IQ3_XXS", 256, 98), 19: ("GGUF:IQ1_S", 256, 50), 20: ("GGUF:IQ4_NL", 32, 18),
    21: ("GGUF:IQ3_S", 256, 110), 22: ("GGUF:IQ2_S", 256, 82), 23: ("GGUF:IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("GGUF:IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("GGUF:TQ1_0", 256, 54),
    35: ("GGUF:TQ2_0", 256, 66), 39: ("GGUF:MXFP4", 32, 17),
}  # fmt: skip


class _Cursor:
    """Reads on from where it is; every read is checked against the file's end."""

    def __init__(self, source: Source) -> None:
        self._window, self._size = Window(source), source.size
        self.at = 0

    def skip(self, length: int) -> None:
        if length > self._size - self.at:
            raise NotThisFormat("it ends within its header")
        self.at += length

    def take(self, length: int) -> bytes:
        start = self.at
        self.skip(length)
        return self._window.look(start, length)

    def number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return int(value)

    def text(self) -> bytes:
        length = self.number("<Q")
        if length > LONGEST_TEXT:
            raise NotThisFormat("a text that is too long")
        return self.take(length)


def tensors(source: Source) -> list[TensorRange]:
    """Every tensor's range. One of a type that is not known here reaches to the next one.

    Raises:
        NotThisFormat: the file is no GGUF file of these versions.
    """
    cursor = _Cursor(source)
    if source.size < 24 or cursor.take(4) != MAGIC or cursor.number("<I") not in VERSIONS:
        raise NotThisFormat("no GGUF file of version 2 or 3")
    # No entry is shorter: a text's length, a type and a byte; a text's length, a rank and more.
    count, pairs = cursor.number("<Q"), cursor.number("<Q")
    if count * 24 + pairs * 13 > source.size:
        raise NotThisFormat("more entries than bytes")
    alignment = ALIGNMENT
    for _ in range(pairs):
        key, kind = cursor.text(), cursor.number("<I")
        if key == b"general.alignment" and kind == 4:
            alignment = cursor.number("<I")
        else:
            _skip_value(cursor, kind)
    found = [_tensor(cursor) for _ in range(count)]
    if not 0 < alignment <= 1 << 20:
        raise NotThisFormat("an alignment that is none")
    data = -(-cursor.at // alignment) * alignment
    return _with_lengths(found, data, source.size)


def _skip_value(cursor: _Cursor, kind: int) -> None:
    if kind in NUMBERS:
        cursor.skip(NUMBERS[kind])
    elif kind == TEXT:
        cursor.skip(cursor.number("<Q"))
    elif kind == ARRAY:
        inner, length = cursor.number("<I"), cursor.number("<Q")
        if inner in NUMBERS:
            cursor.skip(NUMBERS[inner] * length)
        elif inner == TEXT:
            for _ in range(length):
                cursor.skip(cursor.number("<Q"))
        else:
            raise NotThisFormat("an array of something that is not known")
    else:
        raise NotThisFormat("a value of a type that is not known")


def _tensor(cursor: _Cursor) -> tuple[TensorRange, int]:
    """A tensor with its offset in the data, and its type's number; its length comes later."""
    try:
        name = cursor.text().decode()
    except UnicodeDecodeError:
        raise NotThisFormat("a name that is no text") from None
    rank = cursor.number("<I")
    if rank > MOST_DIMENSIONS:
        raise NotThisFormat("too many dimensions")
    # GGUF counts from the innermost dimension.
    shape = tuple(cursor.number("<Q") for _ in range(rank))[::-1]
    kind, offset = cursor.number("<I"), cursor.number("<Q")
    dtype = TYPES[kind][0] if kind in TYPES else f"GGUF:{kind}"
    return TensorRange(name, dtype, shape, offset, 0), kind


def _with_lengths(found: list[tuple[TensorRange, int]], data: int, size: int) -> list[TensorRange]:
    starts = sorted({each.offset for each, _ in found} | {max(size - data, 0)})
    after = dict(pairwise(starts))
    whole = []
    for each, kind in found:
        length = after.get(each.offset, each.offset) - each.offset
        if kind in TYPES:
            _, values, block = TYPES[kind]
            length = math.prod(each.shape) // values * block
        whole.append(replace(each, offset=data + each.offset, length=length))
    return whole
