"""A tensor's bytes to coded bytes and back, in blocks that stand alone.

This is what the archive calls. A tensor is cut into blocks of whole rows; each block becomes the
smallest of the codings in `lissom.storage.coding`, and can be decoded without the others, so that
memory stays bounded and threads can share the work. The format is specified in FORMAT.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lissom.errors import FormatError
from lissom.storage.bits import Cursor, varint
from lissom.storage.coding import choose, tree
from lissom.storage.coding.choose import FLOATS, INTEGERS, SUB_BYTE

BLOCK = 1 << 23
# What has no rows may repeat at a distance.
BLOCK_OF_BYTES = 1 << 26
LARGEST_BLOCK = 1 << 27
# Of a tensor that has more than one.
SMALLEST_BLOCK = 1 << 20


@dataclass(frozen=True)
class Coded:
    """A coded tensor: `coding` says how (small, kept in the index), `payload` is the data.

    `coding` is the bytes of a block and the bytes each block takes in `payload`, all varints.
    """

    coding: bytes
    payload: bytes


Item = tuple[memoryview, memoryview, memoryview]


def encode(data: memoryview, dtype: str, shape: tuple[int, ...]) -> Coded:
    """Code a tensor's bytes, losslessly and deterministically.

    `dtype` and `shape` are hints about where structure may be; any bytes are coded whatever they
    say. dtype is a name of safetensors ("F32", "I8", "U4", ...), "GGUF:<type>", or "BYTES".
    """
    array = np.frombuffer(data, np.uint8)
    columns, row_bytes = _row(array.size, dtype, shape)
    block = BLOCK_OF_BYTES if dtype == "BYTES" else BLOCK // row_bytes * row_bytes or row_bytes
    if block > LARGEST_BLOCK:
        columns, block = 0, BLOCK
    taps = math.prod(shape[2:]) if columns else 0
    parts = [
        choose.encode(array[start : start + block], dtype, columns, taps)
        for start in range(0, array.size, block)
    ]
    lengths = b"".join(varint(len(part)) for part in parts)
    return Coded(varint(block) + lengths, b"".join(parts))


def decode(coding: memoryview, payload: memoryview, out: memoryview) -> None:
    """Fill `out` with exactly the bytes that were coded.

    Raises:
        FormatError: the coding or the payload is damaged or does not give len(out) bytes.
    """
    decode_together([(coding, payload, out)])


def decode_together(items: Iterable[Item]) -> None:
    """`decode` several, each a coding, its payload and what to fill; where there is the compiled
    kernel, nearly all of it is one call, during which other threads run.

    Raises:
        FormatError: one of them is damaged.
    """
    blocks = [block for item in items for block in _blocks(*item)]
    for (part, out), taken in zip(blocks, tree.read_all(blocks), strict=True):
        if taken == 0:
            inside = Cursor(part)
            tree.read(inside, out)
            taken = len(part) - inside.left
        if taken != len(part):
            raise FormatError("a block is longer than its data")


def _blocks(coding: memoryview, payload: memoryview, out: memoryview) -> list[tree.Block]:
    """Each block's bytes, and what they are to fill."""
    array = np.frombuffer(out, np.uint8)
    cursor = Cursor(memoryview(coding).cast("B"))
    block = cursor.varint()
    if not 0 < block <= LARGEST_BLOCK or (block < SMALLEST_BLOCK and block < array.size):
        raise FormatError("a block has a wrong size")
    starts = range(0, array.size, block)
    if len(starts) > cursor.left:
        raise FormatError("a coding has too few blocks")
    data = Cursor(memoryview(payload).cast("B"))
    parts = [(data.take(cursor.varint()), array[start : start + block]) for start in starts]
    if cursor.left or data.left:
        raise FormatError("a coding is longer than its tensor")
    return parts


def _row(size: int, dtype: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """The elements and the bytes of a row, (0, 8) where the shape does not fit the bytes.

    The row of a block format is counted in bytes, of which its blocks take as many as there are
    rows for.
    """
    rows = shape[0] if len(shape) > 1 else 1
    whole = math.prod(shape)
    if rows < 2 or whole < 1 or size % rows:
        return 0, 8
    width = FLOATS.get(dtype) or INTEGERS.get(dtype) or 1
    if dtype.startswith("GGUF:"):
        width = {"GGUF:F32": 4, "GGUF:F16": 2, "GGUF:BF16": 2}.get(dtype, 1)
        return size // rows // width, size // rows
    if dtype in SUB_BYTE:
        per_byte = SUB_BYTE[dtype]
        fits = size * per_byte == whole and whole // rows % per_byte == 0
        return (whole // rows, size // rows) if fits else (0, 8)
    return (whole // rows, size // rows) if size == whole * width else (0, 8)
