from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lissom.quantize.observers import BINS, MinMax, Percentile

BATCHES = st.lists(
    hnp.arrays(np.float32, st.integers(0, 30), elements=st.floats(-1e6, 1e6, width=32)),
    min_size=1,
    max_size=4,
)


@given(BATCHES)
def test_the_smallest_and_the_largest(batches):
    observer = MinMax()
    for batch in batches:
        observer.observe(batch)
    every = np.concatenate(batches)
    truth = (every.min(), every.max()) if every.size else (0.0, 0.0)
    assert observer.range() == truth


@given(BATCHES)
def test_the_range_of_all_values_is_theirs(batches):
    observer = Percentile(100.0)
    for batch in batches:
        observer.observe(batch)
    every = np.concatenate(batches)
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 0.0)
    assert observer.range() == (low, high)
    assert observer.counts.sum() == every.size


@pytest.mark.parametrize("percent", [99.0, 90.0, 60.0])
def test_percentiles_are_known_to_one_bin(percent):
    rng = np.random.default_rng(0)
    # The first batch is the narrowest, so the histogram has to grow.
    batches = [rng.normal(0, scale, (40, 50)).astype(np.float32) for scale in (0.1, 3.0, 1.0)]
    observer = Percentile(percent)
    for batch in batches:
        observer.observe(batch)
    every = np.concatenate(batches).ravel()
    low, high = observer.range()
    bin_width = float(2 * np.abs(every).max() / BINS)
    tail = (100 - percent) / 2
    assert low == pytest.approx(np.percentile(every, tail), abs=bin_width)
    assert high == pytest.approx(np.percentile(every, 100 - tail), abs=bin_width)


def test_one_outlier_in_a_million_is_left_out():
    values = np.linspace(-1, 1, 100_000, dtype=np.float32)
    observer = Percentile(99.99)
    observer.observe(values)
    observer.observe(np.array([1000.0], np.float32))
    low, high = observer.range()
    assert -1.0 <= low <= -0.99
    assert 0.9 < high < 2.0


def test_zeros_before_anything_else_are_counted():
    observer = Percentile(90.0)
    observer.observe(np.zeros(99, np.float32))
    assert observer.range() == (0.0, 0.0)
    observer.observe(np.array([5.0], np.float32))
    low, high = observer.range()
    assert low == 0.0
    assert high <= 8.0 / BINS
    assert observer.counts.sum() == 100


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e38])
def test_tiny_and_huge_values(scale):
    values = (np.linspace(-1, 1, 1001) * scale).astype(np.float32)
    observer = Percentile(99.0)
    observer.observe(values)
    low, high = observer.range()
    assert -scale <= low <= -0.9 * scale
    assert 0.9 * scale <= high <= scale * 1.0001


def test_nothing_seen():
    assert MinMax().range() == (0.0, 0.0)
    assert Percentile().range() == (0.0, 0.0)
