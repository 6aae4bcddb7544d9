"""The frame of a coding: a tag, then what that coding needs, some of it coded in turn.

A coding fills an array of bytes whose length the reader knows beforehand; the lengths of what is
inside follow from it, so that a hostile block cannot ask for more memory than a few times its
output.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lissom.errors import FormatError
from lissom.storage.bits import Cursor

Bytes = NDArray[np.uint8]
DEEPEST = 6


class Tag(IntEnum):
    """The first byte of a coding."""

    RAW = 0
    CONSTANT = 1
    RANS = 2
    HUFFMAN = 3
    LZMA = 4
    PLANES = 5
    WIDENED = 6
    SCALED = 7
    SPARSE = 8
    RECORDS = 9
    NIBBLES = 10
    PALETTE = 11
    PREDICTED = 12
    GROUPS = 13


class Read(Protocol):
    """Decodes what comes next into `out`; `side` is an array of as many bytes decoded before."""

    def __call__(self, cursor: Cursor, out: Bytes, side: Bytes | None = None) -> None: ...


def child(cursor: Cursor, size: int, read: Read, side: Bytes | None = None) -> Bytes:
    """Decode what comes next into a new array of `size` bytes."""
    out = np.empty(size, np.uint8)
    read(cursor, out, side)
    return out


def demand(condition: bool, what: str) -> None:
    """Refuse a coding that breaks a rule of the format.

    Raises:
        FormatError: the condition does not hold.
    """
    if not condition:
        raise FormatError(what)


def newer(what: str) -> FormatError:
    """The error for what this lissom does not know, and a later one may."""
    return FormatError(
        f"it has {what}, which this lissom does not know: it was made by a newer lissom",
        fix="use a newer lissom; if there is none, get the archive again: it is damaged",
    )
