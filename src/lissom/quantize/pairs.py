"""Signed codes whose pairs a kernel adds exactly, with the least squared error.

A kernel that adds two products of a uint8 activation and an int8 weight in 16 bits is exact for
all activations if |q1 + q2| <= 128 for every pair of neighbours of one sign (targets/pairing.py).
Matrices are `[channels, depth]` in the order of the reduction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lissom.targets.pairing import LARGEST_PAIR, exceeding

Floats = NDArray[np.float32]
LIMIT = 127

# Scales that are tried. The error of a short row, of a grouped kernel for example, is ragged as
# a function of its scale and rewards a search; that of a long one is smooth.
FEWEST_TRIALS, MOST_TRIALS = 32, 512
# Elements of a piece of work, so that memory is bounded whatever the matrix.
PIECE = 1 << 20


def fit(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Codes and a scale for each channel with the least squared error.

    For each channel a line search over scales, from the one at which the largest weight just fits
    to the one at which no pair exceeds the limit, each with its best codes; then alternately the
    least squares scale of the codes and the best codes of that scale, which only lowers the error.
    Smaller scales are not searched: they cut the largest weight off, which costs more at a
    network's output than in squared error (ResNet-20, from half that scale on: 30.7 dB, so: 31.2).

    Args:
        matrix: `[channels, depth]`.

    Returns:
        Codes, int8, of the matrix' shape; scales `[channels]`, 1 for a channel of zeros or of
        numbers too small for a scale.
    """
    codes = np.empty(matrix.shape, np.int8)
    scales = np.empty(len(matrix), np.float32)
    step = max(1, PIECE // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        part = slice(start, start + step)
        codes[part], scales[part] = _fit(matrix[part])
    return codes, scales


def codes_at(matrix: Floats, scales: Floats) -> NDArray[np.int8]:
    """The best codes of `[channels, depth]` at given scales `[channels]`."""
    return _codes(matrix, scales).astype(np.int8)


def _fit(matrix: Floats) -> tuple[Floats, Floats]:
    fits = np.abs(matrix).max(axis=1, initial=0.0) / LIMIT
    even = matrix.shape[1] // 2 * 2
    first, second = matrix[:, 0:even:2], matrix[:, 1:even:2]
    # Signs, not the product, which may be too small for a number.
    sums = np.abs(first + second) * (np.sign(first) == np.sign(second))
    top = np.maximum(fits, sums.max(axis=1, initial=0.0) / LARGEST_PAIR)
    usable = top >= np.finfo(np.float32).tiny
    top = np.where(usable, top, np.float32(1.0)).astype(np.float32)
    low = np.where(usable, fits / top, 1.0)
    best = top
    codes = _codes(matrix, best)
    error = _error(matrix, codes, best)
    trials = int(np.clip(8192 // max(1, matrix.shape[1]), FEWEST_TRIALS, MOST_TRIALS))
    for trial in range(trials):
        scales = (top * low ** (1.0 - trial / trials)).astype(np.float32)
        candidate = _codes(matrix, scales)
        found = _error(matrix, candidate, scales)
        better = (found < error) & usable
        best, error = np.where(better, scales, best), np.where(better, found, error)
        codes[better] = candidate[better]
    for _ in range(2):
        scales = np.where(usable, _least_squares(matrix, codes, best), best)
        candidate = _codes(matrix, scales)
        found = _error(matrix, candidate, scales)
        better = found < error
        best, error = np.where(better, scales, best), np.where(better, found, error)
        codes[better] = candidate[better]
    return codes, best


def _codes(matrix: Floats, scales: Floats) -> Floats:
    """The integers nearest to `matrix / scales` that are allowed."""
    steps = matrix / scales[:, None]
    codes: Floats = np.clip(np.rint(steps), -LIMIT, LIMIT)
    channel, pair = np.nonzero(exceeding(codes.astype(np.int8)))
    if not channel.size:
        return codes
    one, two = 2 * pair, 2 * pair + 1
    signs = np.sign(codes[channel, one])
    codes[channel, one], codes[channel, two] = (
        signs * part for part in project(np.abs(steps[channel, one]), np.abs(steps[channel, two]))
    )
    return codes


def project(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """The best allowed codes for positive pairs whose nearest integers exceed the limit in sum.

    They add up to the limit exactly: at a smaller sum one of them could come nearer to its own
    rounding. On that line the squared error is a parabola in the first code, so the integer
    nearest to its lowest point is best.
    """
    lowest = (first + LARGEST_PAIR - second) / 2
    code: Floats = np.clip(np.rint(lowest), LARGEST_PAIR - LIMIT, LIMIT)
    return code, LARGEST_PAIR - code


def _error(matrix: Floats, codes: Floats, scales: Floats) -> Floats:
    off = matrix - codes * scales[:, None]
    total: Floats = np.square(off).sum(axis=1)
    return total


def _least_squares(matrix: Floats, codes: Floats, scales: Floats) -> Floats:
    """The scale of least error for given codes; the old one where all codes are zero."""
    power = np.square(codes).sum(axis=1)
    fitted = (codes * matrix).sum(axis=1) / np.maximum(power, 1)
    good = (power > 0) & (fitted >= np.finfo(np.float32).tiny)
    found: Floats = np.where(good, fitted, scales).astype(np.float32)
    return found
