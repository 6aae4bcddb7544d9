"""Confidence intervals as pure functions of numbers: paired bootstrap, ratio of timings.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993 (paired percentile intervals,
chapters 8 and 13); Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8
(resampling clusters, then what is in them); Hesterberg, What Teachers Should Know About the
Bootstrap, 2015, section 4.1 (why few clusters make intervals too narrow, and by how much).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

from lissom.arrays import Array
from lissom.measurement.records import Estimate, Verdict

LEVEL = 0.95
RESAMPLES = 2000
# Indices drawn at a time: bounds the memory of a bootstrap over many samples to some 100 MB.
CHUNK = 2**21

ReduceMany = Callable[[Array, Array], Array]

# -ln 0.05: what none of n samples shows is rarer than this over n, in 95 of 100 cases.
RULE_OF_THREE = 3.0
# Ratios this close to 1 make no difference to anyone.
UNNOTICED = 1.02


def interval(draws: Array, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of bootstrap draws; draws that are not numbers are left out.

    A correlation of a resample that has one value only is not a number; such draws are rare, and
    when all are so the answer is (nan, nan).
    """
    known = draws[~np.isnan(draws)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def unseen_share(drop: Estimate, samples: int) -> float:
    """The share of all samples that may lose quality although none of these did; 0 where there is a
    drop or its interval has a width, which then tells.

    Of n samples that all agree, the share that does not is below 3/n with 95 % confidence (the
    rule of three; Hanley and Lippman-Hand, JAMA 1983).
    """
    return RULE_OF_THREE / samples if drop.low == drop.high == 0 else 0.0


def samples_needed(drop: Estimate, limit: float, samples: int) -> int | None:
    """How many paired samples would bring the upper end of a drop's interval down to a limit.

    n = (z sd / (limit - estimate))^2, where z sd / sqrt(n) is the interval's upper half as it was
    found with `samples` (the sample size for an interval of a given width; Cochran, Sampling
    Techniques, 1977, section 4.4). sd is that of the paired differences, since both files were
    resampled together. The estimate is taken to stay where it is. Where all samples agree it takes
    as many as show that fewer than the limit's share do not (`unseen_share`).

    Args:
        drop: the loss and its interval, in the unit of `limit`.
        limit: the largest loss allowed.
        samples: how many the interval was found with.

    Returns:
        At least `samples` where the interval crosses the limit and fewer where it does not; None
        where the estimate is on the limit or beyond it: no number of samples proves that.
    """
    margin, half = limit - drop.value, drop.high - drop.value
    # A part in a billion is rounding: neither a margin nor a sample more.
    if not margin > 1e-9 * abs(half) or margin <= 0 or not math.isfinite(half):
        return None
    if unseen_share(drop, samples):
        return math.ceil(RULE_OF_THREE / margin)
    return max(1, math.ceil(samples * (half / margin) ** 2 * (1 - 1e-9)))


def paired_bootstrap(
    reduce_many: ReduceMany,
    first: Array,
    second: Array,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> tuple[Array, Array]:
    """Draws of a reduction of two tables of statistics, row i of both being the same sample.

    Both tables are resampled with the same rows, so the difference of the two answers, draw by
    draw, has the distribution of the paired difference.

    Args:
        reduce_many: (n, k) statistics and (b, n) row numbers -> (b,) values.
        first: (n, k).
        second: (n, k).
        seed: the draws depend on it and on n only.
        resamples: how many draws.

    Returns:
        Two arrays of shape (resamples,).
    """
    if len(first) != len(second):
        raise ValueError(f"pairs are needed: {len(first)} samples against {len(second)}")
    samples = len(first)
    random = np.random.default_rng(seed)
    at_once = max(1, CHUNK // max(samples, 1))
    draws: tuple[list[Array], list[Array]] = ([], [])
    for begin in range(0, resamples, at_once):
        count = min(at_once, resamples - begin)
        rows = random.integers(0, samples, size=(count, samples))
        draws[0].append(reduce_many(first, rows))
        draws[1].append(reduce_many(second, rows))
    return np.concatenate(draws[0]), np.concatenate(draws[1])


def log_ratios(original: Array, candidate: Array) -> Array:
    """Log of original's time over candidate's for each round of two runs of either.

    Args:
        original: times of the runs, two for each round, in order.
        candidate: as `original`, in the same rounds.

    Returns:
        (rounds,): positive where the candidate was faster.
    """
    logs = np.log(np.stack([original, candidate]).astype(np.float64))
    both = logs.reshape(2, -1, 2).mean(axis=2)
    return np.asarray(both[0] - both[1])


def ratio_interval(
    processes: Sequence[Array], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The speed-up from blocks of rounds, nested in processes, with its 95 % interval.

    The estimate is the mean over processes of the mean over a process's blocks, exponentiated.
    The interval resamples processes and then, within each, blocks. What is resampled from c
    clusters varies less than the clusters do, by sqrt((c - 1) / c), and a handful of blocks needs
    Student's t rather than the normal distribution: the draws are stretched by both.

    Args:
        processes: for each process its blocks' log ratios, each one number per block; two blocks
            at least in all.
        seed: seeds the resampling.
        resamples: how many draws.

    Raises:
        ValueError: fewer than two blocks.
    """
    blocks = sum(len(process) for process in processes)
    if blocks < 2:
        raise ValueError("one block has no spread: an interval needs two")
    centre = float(np.mean([np.mean(process) for process in processes]))
    random = np.random.default_rng(seed)
    # (process, draw): the mean of that process's blocks, resampled.
    within = np.stack(
        [
            process[random.integers(0, len(process), (resamples, len(process)))].mean(axis=1)
            for process in map(np.asarray, processes)
        ]
    )
    count = len(processes)
    # Each pick of a process takes a resample of its own: rows are permuted, draws kept.
    picks = random.integers(0, count, (resamples, count))
    others = random.integers(0, resamples, (resamples, count))
    draws = within[picks, others].mean(axis=1)
    clusters = count if count > 1 else blocks
    tail = (1 + LEVEL) / 2
    stretch = math.sqrt(clusters / (clusters - 1)) * stdtrit(blocks - 1, tail) / ndtri(tail)
    low, high = interval(centre + stretch * (draws - centre))
    return Estimate(
        value=math.exp(centre),
        low=math.exp(min(low, centre)),
        high=math.exp(max(high, centre)),
    )


def verdict(ratio: Estimate, processes: Sequence[Array]) -> Verdict:
    """Faster or slower only when the interval says so and every process agrees.

    An interval inside 1/1.02..1.02 is "the same speed", whichever side of 1 it lies: what a user
    cannot notice is neither.
    """
    if ratio.low > 1 / UNNOTICED and ratio.high < UNNOTICED:
        return "the same speed"
    means = [float(np.mean(process)) for process in processes]
    if ratio.low > 1 and min(means) > 0:
        return "faster"
    if ratio.high < 1 and max(means) < 0:
        return "slower"
    return "too noisy to tell"
