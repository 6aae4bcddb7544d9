"""The range of 8-bit codes for a tensor, from its histogram: percentiles, squared error, entropy.

Every function gives (low, high) within the extremes that were seen and with zero inside; a range
for a symmetric grid is that of codes -128..127 times one scale. What lies outside is clipped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lissom.quantize.histogram import BINS, Histogram

CODES = 256
# Ends of ranges that are tried, as shares of the extreme: first two to an octave, down to 1/256
# of it, then finer around the best.
COARSE = 2.0 ** -np.arange(0, 8.5, 0.5)
FINER = (0.125, 0.03125)
# Thresholds of the entropy search lie this many bins apart.
THRESHOLD_STEP = 16
# How many times a clipping error counts as much as a rounding error, to the default observer.
CAUTION = 4.0

Array = NDArray[np.float64]
Range = tuple[float, float]


def minmax_range(low: float, high: float, *, symmetric: bool = False) -> Range:
    """Everything between two extremes, and zero.

    Symmetric: of codes -128..127 the code 127 is the largest magnitude's.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if not symmetric:
        return low, high
    largest = max(-low, high)
    return -largest * 128 / 127, largest


def percentile_range(
    histogram: Histogram, percent: float = 99.99, *, symmetric: bool = False
) -> Range:
    """The range that holds the central `percent` of all values, to one bin."""
    low, high = histogram.low, histogram.high
    counts = histogram.counts.copy()
    counts[BINS] += histogram.zeros
    total = int(counts.sum())
    if total and histogram.reach:
        tail = (1 - percent / 100) / 2
        cumulative = np.cumsum(counts)
        first = int(np.searchsorted(cumulative, tail * total, side="right"))
        last = int(np.searchsorted(cumulative, (1 - tail) * total, side="left"))
        edges = histogram.edges
        low, high = max(low, float(edges[first])), min(high, float(edges[last + 1]))
    return minmax_range(low, high, symmetric=symmetric)


def auto_range(histogram: Histogram, *, symmetric: bool = False) -> Range:
    """The range with the least expected squared error where clipping counts CAUTION times.

    Rounding errors are many, small and of either sign, and average out in the sums of the next
    layer; clipping errors are few and large, all of one sign, and sit on the values on which the
    network relies most. Data that were not calibrated on are clipped more, too. So a range is
    narrowed only where that gains much: not on most tensors of a convolutional network, and by
    orders of magnitude where few values lie far from the rest.
    """
    return mse_range(histogram, clipping=CAUTION, symmetric=symmetric)


def mse_range(histogram: Histogram, *, clipping: float = 1.0, symmetric: bool = False) -> Range:
    """The range with the least expected squared error, of rounding and `clipping` times clipping.

    Both ends are searched independently, down to 1/256 of the extremes, on the grids that codes
    with an integer zero point really have.
    """
    low, high = minmax_range(histogram.low, histogram.high)
    if not histogram.reach or low == high:
        return minmax_range(low, high, symmetric=symmetric)
    error = SquaredError(histogram, clipping)
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    best = (1.0, 1.0)
    for shares in _spreads():
        lows, highs = (
            np.minimum(share * shares, 1.0) if end else np.ones(1)
            for share, end in zip(best, (low, high), strict=True)
        )
        if symmetric:
            lows = highs
        else:
            lows, highs = (each.ravel() for each in np.meshgrid(lows, highs, indexing="ij"))
        scale = 128 / 127 if symmetric else 1.0
        found = int(np.argmin(error(low * lows * scale, high * highs)))
        best = float(lows[found]), float(highs[found])
    if symmetric:
        return minmax_range(low * best[0], high * best[1], symmetric=True)
    return low * best[0], high * best[1]


def _spreads() -> list[Array]:
    """Factors around the best so far, of every round of the search; each has 1 first."""
    rounds = [COARSE]
    wide = 0.5
    for step in FINER:
        exponents = np.arange(-wide, wide + step / 2, step)
        rounds.append(2.0 ** exponents[np.argsort(np.abs(exponents), kind="stable")])
        wide = step
    return rounds


class SquaredError:
    """Expected squared error of a tensor on grids of 256 codes, each in a few hundred look-ups.

    With grid points q_0 < ... < q_L a step s apart and the midpoints b between them, summation by
    parts turns the sum over the cells of E[(x - q)^2] into

        E[(x - q_L)^2] - 2 s sum_b G(b),   G(b) = E[max(b - x, 0)],

    rounding and clipping at once. G is the second integral of the density, a quadratic in every
    bin where the density is uniform within bins, so it is exact between the edges too. Zeros cost
    nothing on any grid and are left out. Errors are sums over all values; what is clipped counts
    `clipping` times.
    """

    def __init__(self, histogram: Histogram, clipping: float = 1.0) -> None:
        counts = histogram.counts.astype(np.float64)
        edges = histogram.edges
        self.width = histogram.reach / BINS
        self.start = -histogram.reach
        middle = (edges[1:] + edges[:-1]) / 2
        self.clipping = clipping
        self.edges = edges
        powers = (counts, counts * middle, counts * (middle**2 + self.width**2 / 12))
        self.sums = [np.concatenate(([0.0], np.cumsum(each))) for each in powers]
        self.below = self.sums[0]
        self.density = np.append(counts, 0.0) / self.width
        steps = (self.below[:-1] + self.below[1:]) / 2 * self.width
        self.integral = np.concatenate(([0.0], np.cumsum(steps)))

    def __call__(self, low: Array, high: Array) -> Array:
        """The errors `[n]` of ranges whose ends are `low` and `high`, `[n]` each."""
        scale = (high - low) / (CODES - 1)
        zero = np.rint(-low / scale)
        last = (CODES - 1 - zero) * scale
        between = scale[:, None] * (np.arange(CODES - 1) + 0.5 - zero[:, None])
        count, first, second = (each[-1] for each in self.sums)
        whole: Array = second - 2 * last * first + last**2 * count
        error: Array = whole - 2 * scale * self._shortfall(between).sum(axis=1)
        if self.clipping != 1.0:
            error += (self.clipping - 1) * self._clipped(low, high)
        return error

    def _clipped(self, low: Array, high: Array) -> Array:
        """The squared distances of all values outside of ranges to their nearer end."""
        count, first, second = (np.interp(low, self.edges, each) for each in self.sums)
        under: Array = np.maximum(second - 2 * low * first + low**2 * count, 0.0)
        count, first, second = (each[-1] - np.interp(high, self.edges, each) for each in self.sums)
        over: Array = np.maximum(second - 2 * high * first + high**2 * count, 0.0)
        return under + over

    def _shortfall(self, points: Array) -> Array:
        """G: how far values lie below points, summed over the values."""
        places = np.clip((points - self.start) / self.width, 0.0, 2 * BINS)
        bins = places.astype(np.intp)
        inside = (places - bins) * self.width
        beyond = np.maximum(points + self.start, 0.0)
        found: Array = (
            self.integral[bins]
            + inside * (self.below[bins] + inside / 2 * self.density[bins])
            + beyond * self.below[-1]
        )
        return found


def entropy_range(histogram: Histogram, *, symmetric: bool = False) -> Range:
    """The range that loses least information: Kullback-Leibler divergence (Migacz 2017).

    The magnitude is cut at a threshold T, so a range is [max(low, -T), min(high, T)]: an end that
    is nearer to zero than T, as behind ReLU or GELU, is not touched. P are the bins inside, with
    what lies outside added to the outermost ones; Q the values inside alone, spread within each of
    the 256 cells evenly over the bins that are not empty in P. Zeros are left out: any grid holds
    them exactly, and behind ReLU they would decide alone. Bins are dealt to the cells as evenly as
    whole bins can be. A threshold with nothing in the outermost cell to stand for what is cut has
    an infinite divergence. Of equal ones the widest is taken.
    """
    low, high = minmax_range(histogram.low, histogram.high)
    occupied = np.flatnonzero(histogram.counts)
    if not occupied.size:
        return minmax_range(low, high, symmetric=symmetric)
    first, last = min(int(occupied[0]), BINS), max(int(occupied[-1]) + 1, BINS)
    if symmetric:
        first = min(first, 2 * BINS - last)
        last = 2 * BINS - first
    widest = max(BINS - first, last - BINS)
    thresholds = np.arange(widest, 0, -THRESHOLD_STEP)
    starts = np.maximum(BINS - thresholds, first)
    ends = np.minimum(BINS + thresholds, last)
    enough = ends - starts >= CODES
    if not enough.any():
        return minmax_range(low, high, symmetric=symmetric)
    starts, ends = starts[enough], ends[enough]
    best = int(np.argmin(divergences(histogram.counts.astype(np.float64), starts, ends)))
    edges = histogram.edges
    low, high = max(low, float(edges[starts[best]])), min(high, float(edges[ends[best]]))
    return minmax_range(low, high, symmetric=symmetric)


def divergences(
    counts: Array, starts: NDArray[np.intp], ends: NDArray[np.intp], cells: int = CODES
) -> Array:
    """KL divergence `[n]` of the bins from their quantization to `cells` codes, per range of bins.

    Args:
        counts: values in each bin.
        starts, ends: the ranges `[n]`, each of at least `cells` bins.
    """
    before = np.concatenate(([0.0], np.cumsum(counts)))
    full = np.concatenate(([0.0], np.cumsum(counts > 0)))
    informed = np.concatenate(([0.0], np.cumsum(_x_log_x(counts))))
    total = before[-1]
    cut_low, cut_high = before[starts], total - before[ends]
    inner = before[ends] - before[starts]
    left, right = counts[starts], counts[ends - 1]
    own = informed[ends] - informed[starts]
    own += _x_log_x(left + cut_low) - _x_log_x(left) + _x_log_x(right + cut_high) - _x_log_x(right)
    bounds = starts[:, None] + (ends - starts)[:, None] * np.arange(cells + 1) // cells
    mass = np.diff(before[bounds], axis=1)
    # Times what is in a cell, of P.
    held = mass.copy()
    held[:, 0] += cut_low
    held[:, -1] += cut_high
    spread = np.diff(full[bounds], axis=1)
    spread[:, 0] += (cut_low > 0) & (left == 0)
    spread[:, -1] += (cut_high > 0) & (right == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(held > 0, held * np.log(mass / spread), 0.0)
        result: Array = (own - each.sum(axis=1)) / total + np.log(inner / total)
    return np.where(np.isfinite(result), result, np.inf)


def _x_log_x(x: Array) -> Array:
    return x * np.log(np.where(x > 0, x, 1.0))
