"""Blocks of weights with their scales, as GGUF has them: each field of the block on its own.

The sizes and fields are those of ggml's quantized types (ggml-quants, 2023).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lissom.storage.bits import Cursor, varint
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand

# The fields of a block, in order: bytes, and whether they are one float16.
_HALF = (2, True)
FIELDS: dict[str, tuple[tuple[int, bool], ...]] = {
    "GGUF:Q4_0": (_HALF, (16, False)),
    "GGUF:Q4_1": (_HALF, _HALF, (16, False)),
    "GGUF:Q5_0": (_HALF, (4, False), (16, False)),
    "GGUF:Q5_1": (_HALF, _HALF, (4, False), (16, False)),
    "GGUF:Q8_0": (_HALF, (32, False)),
    "GGUF:Q8_1": (_HALF, _HALF, (32, False)),
    "GGUF:Q2_K": ((16, False), (64, False), _HALF, _HALF),
    "GGUF:Q3_K": ((32, False), (64, False), (12, False), _HALF),
    "GGUF:Q4_K": (_HALF, _HALF, (12, False), (128, False)),
    "GGUF:Q5_K": (_HALF, _HALF, (12, False), (32, False), (128, False)),
    "GGUF:Q6_K": ((128, False), (64, False), (16, False), _HALF),
    "GGUF:IQ4_NL": (_HALF, (16, False)),
    "GGUF:IQ4_XS": (_HALF, (2, False), (4, False), (128, False)),
}
MOST_FIELDS = 8


def block_size(dtype: str) -> int:
    """The bytes of a block of this type."""
    return sum(size for size, _ in FIELDS[dtype])


def encode(
    data: Bytes, dtype: str, columns: int, field: Callable[[Bytes, bool, int], bytes]
) -> bytes:
    """Each field in its own coding; `columns` is the length of a row in bytes, 0 where unknown."""
    fields = FIELDS[dtype]
    blocks = data.reshape(-1, block_size(dtype))
    coded = [bytes([Tag.RECORDS, len(fields)]), *(varint(size) for size, _ in fields)]
    at = 0
    for size, half in fields:
        part = np.ascontiguousarray(blocks[:, at : at + size]).reshape(-1)
        coded.append(field(part, half, columns // blocks.shape[1] * size))
        at += size
    return b"".join(coded)


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode` wrote.

    Raises:
        FormatError: it is damaged.
    """
    count = cursor.byte()
    demand(0 < count <= MOST_FIELDS, "a block has too many fields")
    sizes = [cursor.varint() for _ in range(count)]
    whole = sum(sizes)
    demand(all(sizes), "a block has an empty field")
    demand(0 < whole <= max(out.size, 1) and out.size % whole == 0, "blocks do not fit")
    blocks = out.reshape(-1, whole)
    at = 0
    for size in sizes:
        blocks[:, at : at + size] = child(cursor, len(blocks) * size, read).reshape(-1, size)
        at += size
