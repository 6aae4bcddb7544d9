"""Tensors that are mostly zero: where the others are, and their values one after another.

The places are a bitmap, the gaps between the others, or the lengths of runs, whichever has the
lowest entropy. A zero may be -0.0, as a mask times a negative weight is: then a bit for each zero
tells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lissom.storage import rans
from lissom.storage.bits import Cursor, varint
from lissom.storage.coding import symbols
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand
from lissom.storage.frequencies import entropy_bits

BITMAP, GAPS, RUNS = 0, 1, 2
FULL = 255
WORTH = 0.2
# Numbers take sixteen bytes an element while they are read; of more elements there is a bitmap.
MOST_NUMBERED = 1 << 22


def encode(data: Bytes, width: int, floats: bool, values: Callable[[Bytes], bytes]) -> bytes | None:
    """The coding of elements of `width` bytes, or None where zeros are few."""
    elements = data.view(f"<u{width}")
    sign = elements.dtype.type(1 << (8 * width - 1)) if floats else elements.dtype.type(0)
    other = (elements & ~sign) != 0 if floats else elements != 0
    count = int(np.count_nonzero(other))
    if count > (1 - WORTH) * elements.size:
        return None
    zeros = elements[~other]
    negative = zeros != 0
    kind, places = min(_places(other), key=lambda pair: _bits(pair[1]))
    coded = [
        bytes([Tag.SPARSE, width, kind, bool(negative.any())]),
        varint(count),
        varint(places.size) if kind != BITMAP else b"",
        symbols.encode(places),
    ]
    if negative.any():
        coded.append(symbols.encode(np.packbits(negative)))
    coded.append(values(np.ascontiguousarray(elements[other]).view(np.uint8)))
    return b"".join(coded)


def _bits(places: Bytes) -> float:
    return entropy_bits(rans.count(places)[0])


def _places(other: NDArray[np.bool_]) -> list[tuple[int, Bytes]]:
    found = [(BITMAP, np.packbits(other))]
    if other.size > MOST_NUMBERED:
        return found
    at = np.flatnonzero(other)
    if at.size < other.size / 16:
        found.append((GAPS, _escaped(np.diff(at, prepend=-1) - 1)))
    edges = np.flatnonzero(np.diff(other.astype(np.int8), prepend=0, append=2))
    if edges.size < other.size / 4:
        found.append((RUNS, _escaped(np.diff(edges, prepend=0))))
    return found


def _escaped(numbers: NDArray[np.int64]) -> Bytes:
    """Each number as bytes that add up to it, all but the last of them 255, the last below."""
    whole = numbers // FULL
    ends = np.cumsum(whole + 1) - 1
    result = np.full(int(ends[-1]) + 1 if ends.size else 0, FULL, np.uint8)
    result[ends] = numbers % FULL
    return result


def _unescaped(places: Bytes) -> NDArray[np.int64]:
    demand(places.size == 0 or places[-1] != FULL, "a sparse coding names wrong places")
    sums = np.cumsum(places, dtype=np.int64)
    numbers: NDArray[np.int64] = np.diff(sums[places != FULL], prepend=0)
    return numbers


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode` wrote.

    Raises:
        FormatError: it is damaged.
    """
    width, kind, signs, count = cursor.byte(), cursor.byte(), cursor.byte(), cursor.varint()
    demand(width in (1, 2, 4, 8) and out.size % width == 0, "a sparse coding does not fit")
    size = out.size // width
    demand(count <= size and signs <= 1, "a sparse coding does not fit")
    other = _mask(cursor, kind, size, read)
    demand(int(np.count_nonzero(other)) == count, "a sparse coding names wrong places")
    elements = np.frombuffer(out.data, f"<u{width}")
    elements[:] = 0
    if signs:
        negative = np.unpackbits(child(cursor, -(-(size - count) // 8), read), count=size - count)
        elements[~other] = negative.astype(elements.dtype) << elements.dtype.type(8 * width - 1)
    elements[other] = child(cursor, count * width, read).view(f"<u{width}")


def _mask(cursor: Cursor, kind: int, size: int, read: Read) -> NDArray[np.bool_]:
    """Where the elements that are not zero are."""
    demand(kind in (BITMAP, GAPS, RUNS), "a sparse coding of an unknown kind")
    if kind == BITMAP:
        return np.unpackbits(child(cursor, -(-size // 8), read), count=size).view(bool)
    length = cursor.varint()
    demand(size <= MOST_NUMBERED, "a sparse coding names too many places")
    demand(length <= 2 * size + 2, "a sparse coding names too many places")
    numbers = _unescaped(child(cursor, length, read))
    mask = np.zeros(size, bool)
    if kind == GAPS:
        at = np.cumsum(numbers + 1) - 1
        demand(at.size == 0 or int(at[-1]) < size, "a sparse coding names wrong places")
        mask[at] = True
        return mask
    demand(int(numbers.sum()) == size, "a sparse coding names wrong places")
    mask[:] = np.repeat(np.arange(numbers.size) % 2 == 1, numbers)
    return mask
