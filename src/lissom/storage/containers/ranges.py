"""Tensors as named ranges of a file's bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

LONGEST_NAME, LONGEST_DTYPE, MOST_DIMENSIONS, LARGEST = 4096, 32, 64, 1 << 62


class NotThisFormat(Exception):
    """A file is not what its name or first bytes say; it is then kept as plain bytes."""


@dataclass(frozen=True)
class TensorRange:
    """Where a tensor's bytes are: `length` of them from `offset` on, of one file.

    `dtype` is a name of safetensors ("F32", "U4"), or "GGUF:Q4_0" and the like for values that are
    stored in blocks; `shape` counts values, outermost dimension first.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def tidy(ranges: Iterable[TensorRange], size: int) -> tuple[TensorRange, ...]:
    """Ranges by offset, inside a file of `size` bytes, each name once.

    Two ranges are the same (a tied tensor) or do not touch. What would overlap another or leave
    the file is left out: its bytes are then kept like any others, without a name.
    """
    inside = {r for r in ranges if _can_be_told(r) and 0 <= r.length <= size - r.offset}
    kept: list[TensorRange] = []
    names: set[str] = set()
    last = (0, 0)
    for each in sorted(inside, key=lambda r: (r.offset, r.length, r.name, r.dtype, r.shape)):
        if each.length and (each.offset, each.length) != last:
            if each.offset < sum(last):
                continue
            last = (each.offset, each.length)
        name, copies = each.name, 1
        while name in names:
            copies += 1
            name = f"{each.name}#{copies}"
        names.add(name)
        kept.append(replace(each, name=name))
    return tuple(kept)


def _can_be_told(each: TensorRange) -> bool:
    """Whether a manifest can hold it: a lone surrogate, for one, is in no UTF-8 text."""
    try:
        long = len(each.name.encode()) > LONGEST_NAME or len(each.dtype.encode()) > LONGEST_DTYPE
    except UnicodeEncodeError:
        return False
    return not long and each.offset >= 0 and _few_and_small(each.shape)


def _few_and_small(shape: tuple[int, ...]) -> bool:
    return len(shape) <= MOST_DIMENSIONS and all(size < LARGEST for size in shape)
