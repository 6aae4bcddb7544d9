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

# The smallest scale that is tried, as a share of the one at which the largest weight just fits.
# Smaller ones cut it off, which costs more at a network's output than in squared error: with a
# share of 0.5 ResNet-20 (benchmarks/saturation.py) had 30.7 dB, with 1.0 it has 31.2 dB.
SMALLEST_SHARE = 1.0
# Scales that are tried. The error of a short row, of a depthwise kernel for example, is ragged as
# a function of its scale and rewards a search; that of a long one is smooth.
FEWEST_TRIALS, MOST_TRIALS = 32, 512
# Elements of a piece of work, so that memory is bounded whatever the matrix.
PIECE = 1 << 20


def fit(
    matrix: Floats, *, paired: bool, moments: Floats | None = None
) -> tuple[NDArray[np.int8], Floats]:
    """Codes and a scale for each channel with the least weighted squared error.

    For each channel a line search over scales, from the one at which the largest weight just fits
    to the one at which no pair exceeds the limit, each with its best codes; then alternately the
    least squares scale of the codes and the best codes of that scale, which only lowers the error.

    Args:
        matrix: `[channels, depth]`.
        paired: keep to the condition on pairs; otherwise codes only lie in -127..127.
        moments: `[depth]`, mean squares of the inputs, or None to weigh all alike.

    Returns:
        Codes, int8, of the matrix' shape; scales `[channels]`, 1 for a channel of zeros or of
        numbers too small for a scale.
    """
    codes = np.empty(matrix.shape, np.int8)
    scales = np.empty(len(matrix), np.float32)
    step = max(1, PIECE // max(1, matrix.shape[1]))
    weights = _importance(moments, matrix.shape[1])
    for start in range(0, len(matrix), step):
        part = slice(start, start + step)
        codes[part], scales[part] = _fit(matrix[part], paired, weights)
    return codes, scales


def codes_at(
    matrix: Floats, scales: Floats, *, paired: bool, moments: Floats | None = None
) -> NDArray[np.int8]:
    """The best codes of `[channels, depth]` at given scales `[channels]`."""
    return _codes(matrix, scales, paired, _importance(moments, matrix.shape[1])).astype(np.int8)


def _fit(matrix: Floats, paired: bool, weights: Floats) -> tuple[Floats, Floats]:
    largest = np.abs(matrix).max(axis=1, initial=0.0)
    top = largest / LIMIT
    if paired:
        even = matrix.shape[1] // 2 * 2
        first, second = matrix[:, 0:even:2], matrix[:, 1:even:2]
        sums = np.abs(first + second) * (first * second > 0)
        top = np.maximum(top, sums.max(axis=1, initial=0.0) / LARGEST_PAIR)
    usable = top >= np.finfo(np.float32).tiny
    top = np.where(usable, top, np.float32(1.0))
    best = np.where(usable, top, np.float32(1.0)).astype(np.float32)
    codes = _codes(matrix, best, paired, weights)
    error = _error(matrix, codes, best, weights)
    low = np.where(usable, SMALLEST_SHARE * largest / LIMIT / top, 1.0)
    trials = int(np.clip(8192 // max(1, matrix.shape[1]), FEWEST_TRIALS, MOST_TRIALS))
    for trial in range(trials):
        scales = (top * low ** (1.0 - trial / trials)).astype(np.float32)
        candidate = _codes(matrix, scales, paired, weights)
        found = _error(matrix, candidate, scales, weights)
        better = (found < error) & usable
        best, error = np.where(better, scales, best), np.where(better, found, error)
        codes[better] = candidate[better]
    for _ in range(2):
        scales = np.where(usable, _least_squares(matrix, codes, best, weights), best)
        candidate = _codes(matrix, scales, paired, weights)
        found = _error(matrix, candidate, scales, weights)
        better = found < error
        best, error = np.where(better, scales, best), np.where(better, found, error)
        codes[better] = candidate[better]
    return codes, best


def _codes(matrix: Floats, scales: Floats, paired: bool, weights: Floats) -> Floats:
    """The integers nearest to `matrix / scales` that are allowed."""
    steps = matrix / scales[:, None]
    codes: Floats = np.clip(np.rint(steps), -LIMIT, LIMIT)
    if not paired:
        return codes
    channel, pair = np.nonzero(exceeding(codes.astype(np.int8)))
    if not channel.size:
        return codes
    one, two = 2 * pair, 2 * pair + 1
    signs = np.sign(codes[channel, one])
    codes[channel, one], codes[channel, two] = (
        signs * part
        for part in project(
            np.abs(steps[channel, one]), np.abs(steps[channel, two]), weights[one], weights[two]
        )
    )
    return codes


def project(
    first: Floats, second: Floats, first_weight: Floats, second_weight: Floats
) -> tuple[Floats, Floats]:
    """The best allowed codes for positive pairs whose nearest integers exceed the limit in sum.

    They add up to the limit exactly: at a smaller sum one of them could come nearer to its own
    rounding. On that line the weighted squared error is a parabola in the first code, so the
    integer nearest to its lowest point is best.
    """
    total = first_weight + second_weight
    lowest = (first_weight * first + second_weight * (LARGEST_PAIR - second)) / total
    code: Floats = np.clip(np.rint(lowest), LARGEST_PAIR - LIMIT, LIMIT)
    return code, LARGEST_PAIR - code


def _importance(moments: Floats | None, depth: int) -> Floats:
    """Positive weights `[depth]` of squared errors, with a mean of one."""
    if moments is None or not (mean := float(moments.mean())) > 0:
        return np.ones(depth, np.float32)
    # An input that was always zero still has a say: other data may use it.
    weights: Floats = np.maximum(moments / mean, 1e-4).astype(np.float32)
    return weights


def _error(matrix: Floats, codes: Floats, scales: Floats, weights: Floats) -> Floats:
    off = matrix - codes * scales[:, None]
    total: Floats = (off * off) @ weights
    return total


def _least_squares(matrix: Floats, codes: Floats, scales: Floats, weights: Floats) -> Floats:
    """The scale of least error for given codes; the old one where all codes are zero."""
    power = (codes * codes) @ weights
    fitted = ((codes * matrix) @ weights) / np.maximum(power, 1e-30)
    good = (power > 0) & (fitted >= np.finfo(np.float32).tiny)
    found: Floats = np.where(good, fitted, scales).astype(np.float32)
    return found
