"""Convolution kernels, whose neighbouring weights are alike: what is left after a prediction.

Each weight of a kernel is predicted from those before it by a linear combination in 64ths, the same
for all kernels of a tensor (least squares; the covariance method of Atal and Schroeder 1967), and
the difference is coded, modulo 256.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lissom.storage import rans
from lissom.storage.bits import Cursor
from lissom.storage.coding import symbols
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand
from lissom.storage.frequencies import entropy_bits

MOST_TAPS = 32
SHIFT = 6
WORTH = 0.99


def encode(data: Bytes, taps: int, centre: int, columns: int) -> bytes | None:
    """The coding of kernels of `taps` bytes around `centre` (0 where they are signed), or None
    where the prediction is of no use."""
    if not 2 <= taps <= MOST_TAPS or data.size % taps or data.size < 16 * taps:
        return None
    kernels = (data ^ np.uint8(centre)).view(np.int8).reshape(-1, taps)
    values = kernels.astype(np.float32)
    weights = _weights(values)
    # Integers below 2^24, which sums of float32 are exact for, in whatever order.
    total = (values @ weights.T).astype(np.int32) + (1 << SHIFT - 1)
    left = kernels.view(np.uint8) - (total >> SHIFT).astype(np.uint8)
    residual = left.reshape(-1)
    if entropy_bits(rans.count(residual)) > WORTH * entropy_bits(rans.count(data)):
        return None
    head = bytes([Tag.PREDICTED, taps, centre])
    below = weights[np.tril_indices(taps, -1)].astype(np.int8)
    return head + below.tobytes() + symbols.encode(residual, columns, lz=False)


def _weights(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row t: the weights of the taps before t, in 64ths."""
    taps = kernels.shape[1]
    sample = kernels[:: max(1, len(kernels) // 65536)].astype(np.float64)
    lower = np.linalg.cholesky(sample.T @ sample + np.eye(taps))
    # What is left of each tap, one that is not predicted by the others, has a 1 for the tap itself.
    left = np.linalg.inv(lower / np.diag(lower))
    found: NDArray[np.float32] = np.clip(np.rint(left * -(1 << SHIFT)), -128, 127)
    return np.tril(found, -1).astype(np.float32)


def _prediction(
    kernels: NDArray[np.int8], weights: NDArray[np.int32], tap: int
) -> NDArray[np.uint8]:
    """What the tap is predicted to be, modulo 256."""
    total = np.full(len(kernels), 1 << (SHIFT - 1), np.int32)
    for before in range(tap):
        total += weights[tap, before] * kernels[:, before].astype(np.int32)
    return (total >> SHIFT).astype(np.uint8)


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode` wrote.

    Raises:
        FormatError: it is damaged.
    """
    taps, centre = cursor.byte(), cursor.byte()
    demand(2 <= taps <= MOST_TAPS and out.size % taps == 0, "kernels do not fit")
    weights = np.zeros((taps, taps), np.int32)
    below = cursor.array(taps * (taps - 1) // 2).view(np.int8)
    weights[np.tril_indices(taps, -1)] = below
    residual = child(cursor, out.size, read).reshape(-1, taps)
    kernels = out.view(np.int8).reshape(-1, taps)
    for tap in range(taps):
        predicted = _prediction(kernels, weights, tap)
        kernels[:, tap] = (residual[:, tap] + predicted).view(np.int8)
    out ^= np.uint8(centre)
