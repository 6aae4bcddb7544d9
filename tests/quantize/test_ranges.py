from __future__ import annotations

import itertools

import numpy as np
import pytest

from lissom.quantize.histogram import BINS, Histogram
from lissom.quantize.ranges import (
    SquaredError,
    auto_range,
    divergences,
    entropy_range,
    minmax_range,
    mse_range,
    percentile_range,
)

RNG = np.random.default_rng(0)
GELU = np.where((x := RNG.normal(0, 2, 20_000)) < 0, -0.17 * np.exp(x), x)
TENSORS = {
    "normal": RNG.normal(0, 1, 20_000),
    "relu": np.maximum(RNG.normal(-1, 1, 20_000), 0),
    "laplace": RNG.laplace(2, 1, 20_000),
    "long tails": RNG.standard_t(3, 20_000),
    "gelu": GELU,
    "outlier": np.append(RNG.normal(0, 1, 20_000), 100.0),
    "negative": -np.abs(RNG.normal(0, 1, 20_000)),
    "uniform": RNG.uniform(-1, 3, 20_000),
}
RANGES = [percentile_range, mse_range, entropy_range, auto_range]


def histogram_of(*batches) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.observe(np.asarray(batch, np.float32))
    return histogram


def error_of(values, low, high) -> float:
    """Mean squared error of quantizing every value, the slow way."""
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float(((values - (codes - zero) * scale) ** 2).mean())


@pytest.mark.parametrize("name", TENSORS)
def test_the_error_read_from_the_histogram_is_that_of_the_values(name):
    values = TENSORS[name].astype(np.float32)
    error = SquaredError(histogram_of(values))
    low, high = minmax_range(float(values.min()), float(values.max()))
    for a, b in itertools.product([1.0, 0.6, 0.3], repeat=2):
        found = float(error(np.array([low * a]), np.array([high * b]))[0]) / values.size
        assert found == pytest.approx(error_of(values, low * a, high * b), rel=0.05)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", TENSORS)
def test_no_range_of_a_fine_grid_has_less_squared_error(name, symmetric):
    values = TENSORS[name].astype(np.float32)
    low, high = minmax_range(float(values.min()), float(values.max()), symmetric=symmetric)
    shares = np.linspace(0.05, 1, 39)
    pairs = zip(shares, shares, strict=True) if symmetric else itertools.product(shares, repeat=2)
    least = min(error_of(values, low * a, high * b) for a, b in pairs)
    found = mse_range(histogram_of(values), symmetric=symmetric)
    assert error_of(values, *found) <= 1.03 * least


@pytest.mark.parametrize("percent", [99.0, 90.0, 60.0])
def test_percentiles_are_known_to_one_bin(percent):
    # The first batch is the narrowest, so the histogram has to grow.
    batches = [RNG.normal(0, scale, (40, 50)).astype(np.float32) for scale in (0.1, 3.0, 1.0)]
    every = np.concatenate(batches).ravel()
    low, high = percentile_range(histogram_of(*batches), percent)
    bin_width = float(4 * np.abs(every).max() / BINS)
    tail = (100 - percent) / 2
    assert low == pytest.approx(np.percentile(every, tail), abs=bin_width)
    assert high == pytest.approx(np.percentile(every, 100 - tail), abs=bin_width)
    assert percentile_range(histogram_of(*batches), 100.0) == (every.min(), every.max())


def slow_divergence(counts, start, end, cells) -> float:
    """KL(P || Q) as Migacz's slides tell it, a bin at a time."""
    p = counts[start:end].astype(float)
    p[0] += counts[:start].sum()
    p[-1] += counts[end:].sum()
    q = np.zeros(end - start)
    for cell in range(cells):
        first = (end - start) * cell // cells
        last = (end - start) * (cell + 1) // cells
        held = [i for i in range(first, last) if p[i] > 0]
        for i in held:
            q[i] = counts[start + first : start + last].sum() / len(held)
    p, q = p / p.sum(), q / q.sum()
    with np.errstate(divide="ignore"):
        return float(sum(p[i] * np.log(p[i] / q[i]) for i in range(len(p)) if p[i] > 0))


def test_divergences_are_those_of_the_slow_way():
    counts = RNG.poisson(np.exp(-(np.linspace(-3, 3, 200) ** 2)) * 8).astype(float)
    counts[90:100] = 0
    ranges = [(0, 200), (10, 190), (50, 150), (30, 95), (95, 180), (70, 130)]
    starts, ends = (np.array(each) for each in zip(*ranges, strict=True))
    found = divergences(counts, starts, ends, 16)
    truth = [slow_divergence(counts, start, end, 16) for start, end in ranges]
    np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-12)
    assert np.isinf(truth).any()
    assert np.isfinite(truth).any()


def test_entropy_leaves_the_near_end_and_the_zeros_alone():
    low, high = entropy_range(histogram_of(GELU))
    assert low == pytest.approx(GELU.min(), rel=1e-5)
    assert high < GELU.max()
    some = np.abs(TENSORS["normal"])
    many = np.concatenate([some, np.zeros(30_000)])
    assert entropy_range(histogram_of(many)) == entropy_range(histogram_of(some))
    assert entropy_range(histogram_of(some))[1] > 2.5


@pytest.mark.parametrize("find", RANGES)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", TENSORS)
def test_ranges_are_within_what_was_seen(find, symmetric, name):
    values = TENSORS[name].astype(np.float32)
    widest = minmax_range(float(values.min()), float(values.max()), symmetric=symmetric)
    low, high = find(histogram_of(values), symmetric=symmetric)
    assert widest[0] * (1 + 1e-9) <= low <= 0 <= high <= widest[1] * (1 + 1e-9)
    assert high > low
    if symmetric:
        assert low == pytest.approx(-high * 128 / 127)


@pytest.mark.parametrize("find", RANGES)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0] * 9,
        [3.0] * 9,
        [-2.0],
        [1e-40, -1e-40],
        [1e-30, 2e-30, -3e-30],
        [3e38, -3e38, 1.0],
        [0.0] * 1000 + [1.0],
    ],
)
def test_degenerate_tensors_keep_all_their_values(find, symmetric, values):
    low, high = find(histogram_of(values), symmetric=symmetric)
    least, most = minmax_range(min(values, default=0.0), max(values, default=0.0))
    if symmetric:
        assert low == pytest.approx(-high * 128 / 127)
        most = max(most, -least)
        least = -most
    if find is percentile_range and len(values) == 1001:
        assert 0 < high <= 1  # A thousandth of the values is more than is cut.
        return
    # A constant may lie half a step outside of the last code, not more.
    assert low <= least * 0.99
    assert high >= most * 0.99


def test_one_outlier_is_clipped_when_enough_values_gain_by_it():
    even = np.linspace(-1, 1, 50_000)
    low, high = percentile_range(histogram_of(*[even] * 80, [40.0]))
    assert -1.0 <= low <= -0.9
    assert 0.9 < high < 2
    for batches in (2, 8, 80):
        # Least of n ((h + 1) / 255)^2 / 12 + (40 - h)^2, in h.
        weight = batches * even.size / 255**2 / 12
        high = mse_range(histogram_of(*[even] * batches, [40.0]))[1]
        assert high == pytest.approx((40 - weight) / (1 + weight), rel=0.05)


def test_clipping_that_counts_more_clips_less():
    for name in ("normal", "long tails", "laplace"):
        histogram = histogram_of(TENSORS[name])
        widths = [np.ptp(mse_range(histogram, clipping=times)) for times in (1.0, 4.0, 64.0)]
        assert widths == sorted(widths)
        assert widths[0] < widths[2]
        assert auto_range(histogram) == mse_range(histogram, clipping=4.0)


def test_the_same_values_have_the_same_range_in_any_batches():
    values = TENSORS["long tails"].astype(np.float32)
    for find in RANGES:
        assert find(histogram_of(values)) == find(histogram_of(*np.array_split(values, 7)[::-1]))
