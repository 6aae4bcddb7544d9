"""The range of a tensor from a stream of batches: smallest and largest, or percentiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 2048


class MinMax:
    """The smallest and the largest value seen."""

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf

    def observe(self, values: NDArray[Any]) -> None:
        """Take in one batch of values, any shape."""
        if values.size:
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))

    def range(self) -> tuple[float, float]:
        """(low, high); (0, 0) when nothing was seen."""
        return (self.low, self.high) if self.low <= self.high else (0.0, 0.0)


class Percentile:
    """The range that holds the central `percent` of all values, from a histogram that grows.

    The histogram covers [-reach, reach] in 2 * BINS bins. When a value falls outside, the reach
    doubles and neighbouring bins merge, so one pass is enough and no count is lost; a percentile
    is known to one bin, at most 1/BINS of the largest magnitude.
    """

    def __init__(self, percent: float = 99.99) -> None:
        self.tail = (1 - percent / 100) / 2
        self.reach = 0.0
        self.counts = np.zeros(2 * BINS, np.int64)
        self.extremes = MinMax()

    def observe(self, values: NDArray[Any]) -> None:
        """Take in one batch of values, any shape."""
        if not values.size:
            return
        self.extremes.observe(values)
        largest = max(abs(self.extremes.low), abs(self.extremes.high))
        if largest == 0.0:
            self.counts[BINS] += values.size
            return
        if self.reach == 0.0:
            zeros = int(self.counts.sum())
            self.reach = float(2.0 ** np.ceil(np.log2(largest)))
            self.counts[:] = 0
            self.counts[BINS] = zeros
        while self.reach < largest:
            self._double()
        # The reach is a power of two, so a value is never put beside its bin by rounding.
        places = ((np.asarray(values, np.float64).ravel() / self.reach) + 1.0) * BINS
        bins = np.minimum(places.astype(np.intp), 2 * BINS - 1)
        self.counts += np.bincount(bins, minlength=2 * BINS)

    def range(self) -> tuple[float, float]:
        """(low, high), never wider than what was seen; (0, 0) when nothing was seen."""
        low, high = self.extremes.range()
        total = int(self.counts.sum())
        if not total or self.reach == 0.0:
            return low, high
        edges = np.linspace(-self.reach, self.reach, 2 * BINS + 1)
        cumulative = np.cumsum(self.counts)
        first = int(np.searchsorted(cumulative, self.tail * total, side="right"))
        last = int(np.searchsorted(cumulative, (1 - self.tail) * total, side="left"))
        return max(low, float(edges[first])), min(high, float(edges[last + 1]))

    def _double(self) -> None:
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(2 * BINS, np.int64)
        self.counts[BINS // 2 : BINS // 2 + BINS] = merged
        self.reach *= 2
