"""Bytes as two symbols of four bits: small tensors pay for a table of 16 rather than 256."""

from __future__ import annotations

import numpy as np

from lissom.storage import rans
from lissom.storage.bits import Cursor
from lissom.storage.coding import symbols
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand
from lissom.storage.frequencies import entropy_bits

WORTH_BELOW = 1 << 15
# What a table of bytes takes at most.
TABLE_BITS = 1500


def encode(data: Bytes, columns: int, packed: bool = True) -> bytes | None:
    """The coding of a plane, low nibble first, or None where bytes as they are cost no more.

    Nibbles that may be `packed` weights can be alike as neighbours, which their entropy does not
    tell.
    """
    if data.size > WORTH_BELOW:
        return None
    halves = np.stack([data & 15, data >> 4], axis=1).reshape(-1)
    if (
        not packed
        and entropy_bits(rans.count(halves)) > entropy_bits(rans.count(data)) + TABLE_BITS
    ):
        return None
    return bytes([Tag.NIBBLES]) + symbols.encode(halves, 2 * columns, lz=False)


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode` wrote; what is above four bits is dropped.

    Raises:
        FormatError: it is damaged, or so long that nibbles in nibbles could fill the memory.
    """
    demand(out.size <= WORTH_BELOW, "too many nibbles")
    halves = child(cursor, 2 * out.size, read)
    np.left_shift(halves[1::2], 4, out=out)
    out |= halves[::2] & 15
