"""Bytes as two symbols of four bits: small tensors pay for a table of 16 rather than 256."""

from __future__ import annotations

import numpy as np

from lissom.storage.bits import Cursor
from lissom.storage.coding import symbols
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand

WORTH_BELOW = 1 << 15


def encode(data: Bytes, columns: int) -> bytes | None:
    """The coding of a plane, low nibble first, or None where bytes as they are cost no more."""
    if data.size > WORTH_BELOW:
        return None
    halves = np.stack([data & 15, data >> 4], axis=1).reshape(-1)
    return bytes([Tag.NIBBLES]) + symbols.encode(halves, 2 * columns)


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode` wrote; what is above four bits is dropped.

    Raises:
        FormatError: it is damaged, or so long that nibbles in nibbles could fill the memory.
    """
    demand(out.size <= WORTH_BELOW, "too many nibbles")
    halves = child(cursor, 2 * out.size, read)
    np.left_shift(halves[1::2], 4, out=out)
    out |= halves[::2] & 15
