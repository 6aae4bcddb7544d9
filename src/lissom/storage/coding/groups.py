"""Groups of few different values: weights that were quantized in groups, and then made floats, or
integers of another scale.

Each group of a row has a list of its values in order, told by the first and by the differences, and
an index for each element. Block formats say this of themselves (Q4_0 of llama.cpp: a scale for 32
weights of 16 levels); here it is found in what they were turned into, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.storage import kernel
from lissom.storage.bits import Cursor, varint
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand

WIDTHS = (1, 2, 4)
SIZES = (128, 64, 32)
LARGEST = 256
# As many levels as four bits tell; with more, the lists weigh too much.
MOST_VALUES = 16
# Groups that are looked at first, and the elements that are worth it.
SAMPLE, SMALLEST = 64, 1 << 12

Elements = NDArray[Any]
# Codes bytes, with a plane of as many bytes that is known before; or elements of some width.
EncodeBytes = Callable[[Bytes, Bytes | None], bytes]
EncodeWide = Callable[[Bytes, int], bytes]


@dataclass(frozen=True)
class Groups:
    """Lists of values in order, each told by its first value and the steps to the next ones.

    Attributes:
        more: how many steps each list has.
        first: the first value of each.
        steps: of all lists, one after the other.
        index: which value of its list each element is, [groups, elements of one].
    """

    more: Bytes
    first: Elements
    steps: Elements
    index: Bytes


def encode(data: Bytes, width: int, plane: EncodeBytes, wide: EncodeWide) -> bytes | None:
    """The coding of elements of `width` bytes, or None where groups of them have many values, or
    all of them together have few."""
    if data.size < SMALLEST * width:
        return None
    elements = data.view(f"<u{width}")
    if elements.size % SIZES[-1] or not _plausible(elements.reshape(-1, SIZES[-1])):
        return None  # nor have larger groups few values
    for size in SIZES:
        if elements.size % size == 0 and _plausible(elements.reshape(-1, size)):
            found = split(elements.reshape(-1, size))
            if found is not None:
                return _coded(found, plane, wide)
    return None


def _plausible(groups: Elements) -> bool:
    """Whether a few of the groups have few values each, and many together."""
    some = np.sort(groups[:: max(1, len(groups) // SAMPLE)], axis=1)
    few = int((some[:, 1:] != some[:, :-1]).sum(axis=1).max()) < MOST_VALUES
    if not few:
        return False
    together = np.sort(some, axis=None)
    return int(np.count_nonzero(together[1:] != together[:-1])) >= 2 * MOST_VALUES


def split(groups: Elements) -> Groups | None:
    """Groups [groups, elements of one] as lists and indices; None where one has many values."""
    library = kernel.library()
    if library is None:
        return split_numpy(groups)
    groups = np.ascontiguousarray(groups)
    count, size = groups.shape
    more, first = np.empty(count, np.uint8), np.empty(count, groups.dtype)
    steps, index = (
        np.empty(count * (MOST_VALUES - 1), groups.dtype),
        np.empty(groups.shape, np.uint8),
    )
    found = library.lissom_groups(
        kernel.address(groups), count, size, groups.itemsize, MOST_VALUES,
        *map(kernel.address, (more, first, steps, index)),
    )  # fmt: skip
    return Groups(more, first, steps[:found].copy(), index) if found <= steps.size else None


def split_numpy(groups: Elements) -> Groups | None:
    """`split` without the compiled kernel."""
    ordered = np.sort(groups, axis=1)
    changes = ordered[:, 1:] != ordered[:, :-1]
    counts = changes.sum(axis=1)
    if int(counts.max()) >= MOST_VALUES:
        return None
    steps = (ordered[:, 1:] - ordered[:, :-1])[changes]
    first = np.ascontiguousarray(ordered[:, 0])
    value, index = first.copy(), np.zeros(groups.shape, np.uint8)
    at = np.cumsum(counts) - counts
    padded = np.append(steps, steps.dtype.type(0))
    for turn in range(int(counts.max())):
        goes_on = turn < counts
        value += np.where(goes_on, padded[np.minimum(at + turn, steps.size)], 0).astype(value.dtype)
        index += (groups >= value[:, None]) & goes_on[:, None]
    return Groups(counts.astype(np.uint8), first, steps, index)


def _coded(found: Groups, plane: EncodeBytes, wide: EncodeWide) -> bytes:
    width = found.first.itemsize
    coded = [bytes([Tag.GROUPS, width]), varint(found.index.shape[1]), plane(found.more, None)]
    if width > 1:
        coded += [wide(part.view(np.uint8), width) for part in (found.first, found.steps)]
    else:
        least = _least(found.steps, found.more)
        coded += [plane(found.first, None), plane(least, None)]
        coded.append(plane(found.steps, np.repeat(least, found.more)))
    coded.append(plane(found.index.reshape(-1), None))
    return b"".join(coded)


def _least(steps: Bytes, more: Bytes) -> Bytes:
    """The smallest step of each list; 0 of one without any."""
    least = np.zeros(more.size, np.uint8)
    some = more > 0
    starts = (np.cumsum(more, dtype=np.int64) - more)[some]
    if starts.size:
        least[some] = np.minimum.reduceat(steps, starts)
    return least


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode` wrote.

    Raises:
        FormatError: it is damaged.
    """
    width, size = cursor.byte(), cursor.varint()
    demand(width in WIDTHS and 2 <= size <= LARGEST, "groups of an unknown kind")
    demand(out.size > 0 and out.size % (width * size) == 0, "groups do not fit")
    groups = out.size // (width * size)
    more = child(cursor, groups, read)
    demand(int(more.max(initial=0)) < size, "a group has too many values")
    first = child(cursor, groups * width, read).view(f"<u{width}")
    count = int(more.sum(dtype=np.int64))
    least = np.repeat(child(cursor, groups, read), more) if width == 1 else None
    steps = child(cursor, count * width, read, least).view(f"<u{width}")
    index = child(cursor, groups * size, read).reshape(groups, size)
    demand(bool((index <= more[:, None]).all()), "a group has no such value")
    starts = np.cumsum(more, dtype=np.int64) - more
    # All lists one after the other: a list's first value, then its steps added up.
    lists = np.zeros(count + groups, steps.dtype)
    begins = starts + np.arange(groups)
    lists[begins] = first
    inside = np.ones(lists.size, bool)
    inside[begins] = False
    lists[inside] = steps
    sums = np.cumsum(lists, dtype=lists.dtype)
    before = np.concatenate([np.zeros(1, lists.dtype), sums[begins[1:] - 1]]) if groups else sums
    values = sums[begins[:, None] + index] - before[:, None]
    np.frombuffer(out.data, lists.dtype).reshape(groups, size)[:] = values
