"""Few different values: a list of them and an index for each element (weights shared by k-means,
Han et al. 2016, arXiv:1510.00149, or quantized without saying so)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lissom.storage.bits import Cursor, varint
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand

# Planes code floats of two bytes with more values as well.
MOST_TRIED = {2: 256, 4: 4096, 8: 4096}
SAMPLE = {2: 1 << 11, 4: 1 << 14, 8: 1 << 14}

Encode = Callable[[Bytes], bytes]
EncodePlane = Callable[[Bytes, int], bytes]


def encode(data: Bytes, width: int, values: Encode, indices: EncodePlane) -> bytes | None:
    """The coding of elements of `width` bytes, or None where they have many values.

    Values are listed in the order of floats, so that neighbours in the list are alike.
    """
    elements = data.view(f"<u{width}")
    most = MOST_TRIED[width]
    sample = np.sort(elements[:: max(1, elements.size // SAMPLE[width])])
    if np.count_nonzero(sample[1:] != sample[:-1]) >= min(most, sample.size // 2):
        return None
    found = np.unique(elements)
    if found.size > min(most, elements.size // 2):
        return None
    top = found.dtype.type(1 << (8 * width - 1))
    found = found[np.argsort(np.where(found & top, ~found, found | top), kind="stable")]
    by_value = np.argsort(found, kind="stable")
    index = by_value[np.searchsorted(found, elements, sorter=by_value)]
    index_width = 1 if found.size <= 256 else 2
    coded = index.astype(f"<u{index_width}").view(np.uint8)
    head = bytes([Tag.PALETTE, width, index_width]) + varint(found.size)
    return head + values(found.view(np.uint8)) + indices(coded, index_width)


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode` wrote.

    Raises:
        FormatError: it is damaged.
    """
    width, index_width, count = cursor.byte(), cursor.byte(), cursor.varint()
    demand(width in (2, 4, 8) and index_width in (1, 2), "a palette of an unknown kind")
    demand(out.size % width == 0, "a palette does not fit")
    size = out.size // width
    demand(0 < count <= min(size, 1 << 8 * index_width), "a palette has too many values")
    values = child(cursor, count * width, read).view(f"<u{width}")
    index = child(cursor, size * index_width, read).view(f"<u{index_width}")
    demand(int(index.max(initial=0)) < count, "a palette has no such value")
    np.take(values, index, out=np.frombuffer(out.data, f"<u{width}"))
