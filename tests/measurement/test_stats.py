"""The intervals cover what they say they cover, and agree with scipy."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lissom.measurement.records import Estimate
from lissom.measurement.stats import (
    interval,
    log_ratios,
    paired_bootstrap,
    ratio_interval,
    samples_needed,
    verdict,
)
from lissom.metrics import METRICS


def means(statistics, rows):
    return statistics[rows, 0].mean(axis=1)


def test_interval_agrees_with_scipys_percentile_bootstrap():
    rng = np.random.default_rng(0)
    sample = rng.exponential(size=(200, 1))
    draws, _ = paired_bootstrap(means, sample, sample, seed=1, resamples=9000)
    theirs = scipy_stats.bootstrap(
        (sample[:, 0],), np.mean, method="percentile", n_resamples=9000, rng=2
    ).confidence_interval
    assert interval(draws) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_paired_difference_covers_the_truth_95_percent_of_the_time():
    rng = np.random.default_rng(0)
    covered, trials = 0, 400
    for trial in range(trials):
        # Two classifiers right on 80 % and 75 %, mostly on the same samples.
        luck = rng.random((150, 1))
        first = (luck < 0.80).astype(float)
        second = (luck + 0.1 * (rng.random((150, 1)) - 0.5) < 0.75).astype(float)
        a, b = paired_bootstrap(means, first, second, seed=trial, resamples=500)
        low, high = interval(a - b)
        covered += low <= 0.05 <= high
    # Binomial: 400 trials at 95 % stay within 92 and 98 % but for one time in a hundred.
    assert 0.92 <= covered / trials <= 0.98


def test_pairing_is_narrower_than_two_independent_samples():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(300, 1))
    second = first + 0.01 * rng.normal(size=(300, 1))
    a, b = paired_bootstrap(means, first, second, seed=0)
    assert np.std(a - b) == pytest.approx(0.01 / 300**0.5, rel=0.2)
    assert np.std(a) == pytest.approx(1 / 300**0.5, rel=0.2)


def test_bootstrap_is_deterministic_and_does_not_depend_on_the_size_of_chunks(monkeypatch):
    table = np.random.default_rng(0).normal(size=(40, 2))
    metric = METRICS["spearman"]
    whole = paired_bootstrap(metric.reduce_many, table, table[:, ::-1], seed=3, resamples=100)
    monkeypatch.setattr("lissom.measurement.stats.CHUNK", 40 * 7)
    chunked = paired_bootstrap(metric.reduce_many, table, table[:, ::-1], seed=3, resamples=100)
    np.testing.assert_array_equal(whole, chunked)
    other = paired_bootstrap(metric.reduce_many, table, table, seed=4, resamples=100)
    assert not np.array_equal(whole[0], other[0])


def test_pairs_of_different_length_are_refused():
    with pytest.raises(ValueError, match="3 samples against 4"):
        paired_bootstrap(means, np.ones((3, 1)), np.ones((4, 1)), seed=0)


def test_interval_leaves_out_what_is_no_number():
    assert interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
    assert np.isnan(interval(np.full(3, np.nan))).all()


def test_log_ratios_are_paired_by_round():
    original = np.array([2.0, 2.0, 8.0, 2.0])
    candidate = np.array([1.0, 1.0, 4.0, 4.0])
    np.testing.assert_allclose(log_ratios(original, candidate), [np.log(2), 0.0], atol=1e-12)


@pytest.mark.parametrize(("processes", "blocks"), [(3, 4), (3, 1), (1, 4), (5, 2)])
def test_ratio_interval_covers_where_blocks_and_processes_both_vary(processes, blocks):
    rng = np.random.default_rng(0)
    covered = wrong = 0
    trials = 300
    # Between processes half the spread of a process's mean, as measured; a lone process has none.
    between = 0.005 if processes > 1 else 0.0
    for trial in range(trials):
        measured = [
            np.log(1.1) + rng.normal(0, between) + rng.normal(0, 0.01, blocks)
            for _ in range(processes)
        ]
        found = ratio_interval(measured, seed=trial, resamples=500)
        covered += found.low <= 1.1 <= found.high
        # The same data around 1: a verdict would be a false one.
        still = [values - np.log(1.1) for values in measured]
        judged = verdict(ratio_interval(still, seed=trial, resamples=500), still)
        wrong += judged in ("faster", "slower")
    assert covered / trials >= 0.92
    assert wrong / trials <= 0.08


def test_an_interval_around_one_that_nobody_would_notice_is_the_same_speed():
    assert verdict(Estimate(value=0.998, low=0.996, high=0.999), [np.log([0.998])]) == (
        "the same speed"
    )
    assert verdict(Estimate(value=0.97, low=0.96, high=0.975), [np.log([0.97])]) == "slower"


def test_ratio_interval_keeps_its_promise_where_processes_differ_as_rounds_do_not():
    rng = np.random.default_rng(0)
    covered = sum(
        found.low <= 1 <= found.high
        for found in (
            ratio_interval(
                [rng.normal(0, 0.02) + rng.normal(0, 0.001, 4) for _ in range(3)],
                seed=trial,
                resamples=400,
            )
            for trial in range(200)
        )
    )
    # Pooling all twelve blocks would cover 60 % only: their spread is that of three processes.
    assert covered / 200 >= 0.8


def test_ratio_interval_needs_two_blocks():
    with pytest.raises(ValueError, match="two"):
        ratio_interval([np.array([0.1])])


def test_verdict_needs_the_interval_and_every_process():
    up = [np.array([0.1, 0.12]), np.array([0.09, 0.11])]
    mixed = [np.array([0.3, 0.3]), np.array([-0.01, -0.01])]
    above = Estimate(value=1.1, low=1.05, high=1.15)
    assert verdict(above, up) == "faster"
    assert verdict(above, mixed) == "too noisy to tell"
    below = Estimate(value=0.9, low=0.85, high=0.95)
    assert verdict(below, [-values for values in up]) == "slower"
    assert verdict(Estimate(value=1.1, low=0.99, high=1.2), up) == "too noisy to tell"


def drop_of(first, second):
    draws = paired_bootstrap(means, first, second, seed=0, resamples=6000)
    low, high = interval(draws[0] - draws[1])
    return Estimate(value=float(first.mean() - second.mean()), low=low, high=high)


@pytest.mark.parametrize("margin", [0.004, 0.008, 0.02])
def test_as_many_samples_as_are_said_to_be_needed_are_enough(margin):
    rng = np.random.default_rng(3)
    first = (rng.random((400, 1)) < 0.9).astype(float)
    flipped = np.where(rng.random((400, 1)) < 0.03, 1 - first, first)
    drop = drop_of(first, flipped)
    needed = samples_needed(drop, drop.value + margin, 400)
    # The formula with the deviation of the paired differences themselves.
    z = scipy_stats.norm.ppf(0.975)
    deviation = (first - flipped).std()
    assert needed == pytest.approx((z * deviation / margin) ** 2, rel=0.15)
    # Four times the samples halve the interval: then that many prove half the margin.
    rows = np.tile(np.arange(400), 4)
    fourfold = drop_of(first[rows], flipped[rows])
    assert fourfold.value == pytest.approx(drop.value)
    again = samples_needed(fourfold, drop.value + margin, 1600)
    assert again == pytest.approx(needed, rel=0.2)


def test_samples_that_are_enough_and_estimates_that_never_will_be():
    inside = Estimate(value=0.0, low=-0.01, high=0.01)
    assert samples_needed(inside, 0.01, 500) == 500
    assert samples_needed(inside, 0.02, 500) == 125
    assert samples_needed(inside, 0.005, 500) == 2000
    # All agree: of 30 samples a tenth would have shown, with 96 %.
    assert samples_needed(Estimate(value=0.0, low=0.0, high=0.0), 0.1, 20) == 30
    assert 0.9**30 < 0.05
    for limit in (0.0, -0.001):
        assert samples_needed(inside, limit, 500) is None
    nan = float("nan")
    assert samples_needed(Estimate(value=nan, low=nan, high=nan), 0.01, 9) is None
