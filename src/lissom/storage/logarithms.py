"""Logarithms of base 2 in integers, so that every machine chooses the same coding.

What NumPy and C give for a logarithm differs in the last bit from one processor to another; these
have 24 bits of fraction, from a table of 4,097 and a straight line between its entries, and are
within 2^-23 of the truth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRACTION = 24
STEPS = 4096
TABLE = np.rint(np.log2(1 + np.arange(STEPS + 1) / STEPS) * (1 << FRACTION)).astype(np.uint32)


def log2(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The logarithm of integers from 1 to 2^52, in units of 2^-FRACTION."""
    octave = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    rest = np.where(
        octave >= 32, values >> np.maximum(octave - 32, 0), values << np.maximum(32 - octave, 0)
    )
    rest &= 0xFFFFFFFF
    step, part = rest >> 20, rest & 0xFFFFF
    table = TABLE.astype(np.int64)
    more = ((table[step + 1] - table[step]) * part + (1 << 19)) >> 20
    result: NDArray[np.int64] = (octave << FRACTION) + table[step] + more
    return result
