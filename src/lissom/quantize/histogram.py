"""What is known of a tensor after a stream of batches: its extremes, and where its values lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bins on each side of zero: at least 2048 between zero and the largest magnitude, so 8 or more to
# a step of 8-bit codes, and 16 to a step where all values have one sign (Migacz 2017 has 16).
BINS = 4096
# Values that one batch adds to the histogram of a tensor; there are no more to gain a percentile
# from, and counting costs ten times as much a value as finding the extremes.
SAMPLE = 2**16
# Below 2 ** SMALLEST the reach is not narrowed: a bin's factor must stay finite in float32.
SMALLEST = -100


class Extremes:
    """The smallest and the largest value seen, exactly.

    Attributes:
        low, high: the extremes; 0 and 0 as long as nothing was seen. NaN if a NaN was.
    """

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self._seen = False

    def observe(self, values: NDArray[Any]) -> None:
        """Take in one batch of values, any shape."""
        if values.size:
            self._take_in(float(values.min()), float(values.max()))

    def _take_in(self, low: float, high: float) -> None:
        self.low, self.high = (
            (float(np.minimum(self.low, low)), float(np.maximum(self.high, high)))
            if self._seen
            else (low, high)
        )
        self._seen = True

    @property
    def finite(self) -> bool:
        """Whether no value was NaN or infinite."""
        return math.isfinite(self.low) and math.isfinite(self.high)


class Histogram(Extremes):
    """Counts of values in bins of one width around zero, in one pass over a stream.

    The bins cover [-reach, reach). When a value falls outside, the reach doubles and neighbouring
    bins merge: no count is lost, and as all edges are powers of two times integers the counts are
    those of all values at once, whatever the order. Exact zeros, which ReLU and padding make and
    any grid represents exactly, are counted apart.

    Of a batch of more than SAMPLE values every n-th is counted, n times. The step n has no factor
    in common with the size, hence none with a dimension of the tensor, so that the sample walks
    through all channels and positions evenly; its start moves from batch to batch. The extremes of
    such a batch are counted besides, lest an outlier be missed.

    Attributes:
        counts: int64 `[2 * BINS]`, values other than zero.
        zeros: how many values were zero.
        reach: a power of two above every magnitude; 0 as long as nothing but zeros was seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: NDArray[np.int64] = np.zeros(2 * BINS, np.int64)
        self.zeros = 0
        self.reach = 0.0
        self._batches = 0

    def observe(self, values: NDArray[Any]) -> None:
        """Take in one batch of values, any shape; only the extremes of one that is not finite."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        self._take_in(low, high)
        if not self.finite:
            return
        self._widen(max(abs(self.low), abs(self.high)))
        step = sampling_step(values.size)
        sample = np.asarray(values, np.float32).reshape(-1)[self._batches % step :: step]
        self._batches += 1
        self._count(sample, step)
        if step > 1:
            self._count(np.array([low, high], np.float32), 1)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The `2 * BINS + 1` ends of the bins."""
        return np.linspace(-self.reach, self.reach, 2 * BINS + 1)

    def _count(self, sample: NDArray[np.float32], weight: int) -> None:
        zeros = sample.size - int(np.count_nonzero(sample))
        self.zeros += weight * zeros
        if zeros == sample.size:
            return
        # A product with a power of two and a floor are exact, also in float32.
        bins = np.floor(sample * np.float32(BINS / self.reach)).astype(np.intp) + BINS
        counts = np.bincount(bins, minlength=2 * BINS)
        counts[BINS] -= zeros
        self.counts += weight * counts

    def _widen(self, largest: float) -> None:
        """Double the reach until it is above `largest`."""
        if largest == 0.0:
            return
        # frexp's exponent e: largest < 2 ** e, never equal.
        exponent = max(math.frexp(largest)[1], SMALLEST)
        if self.reach == 0.0:
            self.reach = 2.0**exponent
        while self.reach < 2.0**exponent:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(2 * BINS, np.int64)
            self.counts[BINS // 2 : BINS // 2 + BINS] = merged
            self.reach *= 2


def sampling_step(size: int) -> int:
    """The least step without a common factor with `size` that leaves at most SAMPLE values."""
    step = -(-size // SAMPLE)
    while math.gcd(step, size) > 1:
        step += 1
    return step
