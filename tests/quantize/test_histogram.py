from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lissom.quantize.histogram import BINS, SAMPLE, Extremes, Histogram, sampling_step

# A product with a bin's factor may underflow below; such values count as zeros of either sign.
NUMBERS = st.floats(-1e6, 1e6, width=32).map(lambda x: x if abs(x) > 1e-30 else 0.0)
BATCHES = st.lists(
    hnp.arrays(np.float32, st.integers(0, 30), elements=NUMBERS),
    min_size=1,
    max_size=4,
)


def histogram_of(*batches) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.observe(np.asarray(batch, np.float32))
    return histogram


@given(BATCHES)
def test_the_smallest_and_the_largest(batches):
    seen = Extremes()
    for batch in batches:
        seen.observe(batch)
    every = np.concatenate(batches)
    truth = (every.min(), every.max()) if every.size else (0.0, 0.0)
    assert (seen.low, seen.high) == truth


@given(BATCHES)
def test_batches_one_by_one_are_all_values_at_once(batches):
    every = np.concatenate(batches)
    for order in (batches, batches[::-1]):
        streamed, whole = histogram_of(*order), histogram_of(every)
        assert streamed.reach == whole.reach
        assert streamed.zeros == whole.zeros == np.count_nonzero(every == 0)
        np.testing.assert_array_equal(streamed.counts, whole.counts)
    assert whole.counts.sum() + whole.zeros == every.size


@given(BATCHES)
def test_counts_are_those_of_numpy(batches):
    every = np.concatenate(batches).astype(np.float64)
    histogram = histogram_of(*batches)
    if histogram.reach:
        bins = np.searchsorted(histogram.edges, every[every != 0], side="right") - 1
        np.testing.assert_array_equal(histogram.counts, np.bincount(bins, minlength=2 * BINS))
        assert np.abs(every).max() < histogram.reach <= 2 * max(np.abs(every).max(), 2.0**-100)


@given(st.integers(1, 10**8))
def test_a_sample_shares_no_period_with_the_tensor(size):
    step = sampling_step(size)
    assert math.gcd(step, size) == 1
    assert size / step <= SAMPLE or step == 1


def test_a_sample_of_a_large_batch_stands_for_all_of_it():
    # Channels last: a step with a factor in common with 64 would miss most channels.
    values = np.arange(64, dtype=np.float32) + np.zeros((32, 64, 64, 1), np.float32) + 1
    histogram = histogram_of(values, values)
    assert histogram.counts.sum() == pytest.approx(2 * values.size, rel=1e-4)
    edges = histogram.edges
    for channel in range(1, 65):
        place = np.searchsorted(edges, channel, side="right") - 1
        assert histogram.counts[place] == pytest.approx(values.size / 32, rel=0.01)


def test_the_only_outlier_of_a_large_batch_is_counted():
    values = np.ones(SAMPLE * 10, np.float32)
    values[7] = -1000
    histogram = histogram_of(values)
    assert histogram.low == -1000
    assert histogram.counts[: BINS // 2].sum() in (1, 1 + sampling_step(values.size))


def test_zeros_before_anything_else_are_counted():
    histogram = histogram_of(np.zeros(99))
    assert (histogram.low, histogram.high, histogram.reach) == (0.0, 0.0, 0.0)
    histogram.observe(np.array([5.0], np.float32))
    assert histogram.zeros == 99
    assert histogram.counts.sum() == 1


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told(broken):
    for seen in (Extremes(), Histogram()):
        seen.observe(np.array([1.0, 2.0], np.float32))
        assert seen.finite
        seen.observe(np.array([broken, 2.0], np.float32))
        seen.observe(np.array([3.0], np.float32))
        assert not seen.finite
