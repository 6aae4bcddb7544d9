"""Codes of four bits with the least squared error: the largest weights may be cut off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LOW, HIGH = -8, 7
# Scales that are tried, as shares of the one at which every weight just fits.
SHARES = tuple(np.linspace(1.0, 0.4, 25))
REFITS = 2


def fit(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Codes -8..7 and a scale for each channel with the least squared error.

    A line search over scales, then alternately the least squares scale of the codes and the best
    codes of that scale, which only lowers the error.

    Args:
        matrix: `[channels, depth]`.

    Returns:
        Codes, int8, of the matrix' shape; scales `[channels]`, 1 for a channel of zeros or of
        numbers too small for a scale.
    """
    ends = np.maximum(
        matrix.max(axis=1, initial=0.0) / HIGH, matrix.min(axis=1, initial=0.0) / LOW
    ).astype(np.float32)
    usable = ends >= 2 * np.finfo(np.float32).tiny / SHARES[-1]
    ends = np.where(usable, ends, np.float32(1.0)).astype(np.float32)
    best, error = ends, _error(matrix, ends)
    for share in SHARES[1:]:
        scales = np.where(usable, ends * np.float32(share), ends)
        best, error = _better(matrix, scales, best, error)
    for _ in range(REFITS):
        codes = codes_at(matrix, best).astype(np.float32)
        power = np.square(codes).sum(axis=1)
        fitted = (codes * matrix).sum(axis=1) / np.maximum(power, 1)
        scales = np.where(usable & (power > 0) & (fitted > 0), fitted, best).astype(np.float32)
        best, error = _better(matrix, scales, best, error)
    return codes_at(matrix, best), best


def codes_at(matrix: Floats, scales: Floats) -> NDArray[np.int8]:
    """The nearest codes of `[channels, depth]` at given scales `[channels]`."""
    codes: NDArray[np.int8] = np.clip(np.rint(matrix / scales[:, None]), LOW, HIGH).astype(np.int8)
    return codes


def _better(matrix: Floats, scales: Floats, best: Floats, error: Floats) -> tuple[Floats, Floats]:
    found = _error(matrix, scales)
    return np.where(found < error, scales, best), np.minimum(found, error)


def _error(matrix: Floats, scales: Floats) -> Floats:
    off = matrix - codes_at(matrix, scales) * scales[:, None]
    total: Floats = np.square(off).sum(axis=1)
    return total
