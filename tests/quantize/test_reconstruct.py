from __future__ import annotations

import itertools

import numpy as np
import pytest

from lissom.quantize.moments import Means, Moments
from lissom.quantize.reconstruct import (
    Box,
    damped,
    descended,
    excess,
    optimum,
    reconstruct,
    refitted,
    rounded_greedily,
)
from lissom.targets.pairing import exceeding


def system(depth: int, *, groups: int = 1, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    """E[x x^T] of correlated inputs."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(groups, 999, max(1, depth // 3))) @ rng.normal(
        size=(groups, max(1, depth // 3), depth)
    )
    x = common + spread * rng.normal(size=(groups, 999, depth))
    return x.swapaxes(1, 2) @ x / 999


def target(outputs: int, depth: int, *, groups: int = 1, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(groups, outputs, depth))


def nearest(wanted: np.ndarray, scales: np.ndarray, box: Box) -> np.ndarray:
    return np.clip(np.rint(wanted / scales[..., None]), box.low, box.high)


def test_codes_are_close_to_the_best_there_are():
    box = Box(-2, 1)
    matrix, wanted = system(5, spread=0.3), target(40, 5)
    scales = np.full((1, 40), 0.8)
    every = np.array(list(itertools.product(range(-2, 2), repeat=5)), float)
    off = every[None] * 0.8 - wanted[0][:, None]
    best = np.einsum("ocd,de,oce->oc", off, matrix[0], off).min(axis=1)
    found = descended(rounded_greedily(wanted, scales, matrix, box), scales, wanted, matrix, box)
    errors = excess(found, scales, wanted, matrix)[0]
    plain = excess(nearest(wanted, scales, box), scales, wanted, matrix)[0]
    assert (errors >= best - 1e-9).all()
    assert errors.sum() < 1.15 * best.sum()
    assert plain.sum() > 1.8 * best.sum()


def test_nothing_is_gained_where_inputs_are_independent():
    box = Box(-8, 7)
    matrix, wanted = np.eye(12)[None] * 3.0, target(6, 12)
    scales = np.full((1, 6), 0.3)
    found = rounded_greedily(wanted, scales, matrix, box)
    np.testing.assert_array_equal(found, nearest(wanted, scales, box))
    np.testing.assert_array_equal(descended(found, scales, wanted, matrix, box), found)


@pytest.mark.parametrize(("groups", "outputs", "depth"), [(1, 3, 300), (7, 2, 9), (2, 4, 129)])
def test_descent_ends_where_no_single_code_can_be_better(groups, outputs, depth):
    box = Box(-127, 127, paired=True)
    matrix, wanted = system(depth, groups=groups), target(outputs, depth, groups=groups)
    scales = np.full((groups, outputs), np.abs(wanted).max() / 80)
    start = rounded_greedily(wanted, scales, matrix, box)
    found = descended(start, scales, wanted, matrix, box, sweeps=200)
    least = excess(found, scales, wanted, matrix)
    assert (least <= excess(start, scales, wanted, matrix) + 1e-12).all()
    for column in {0, 1, depth // 2, min(depth - 1, 128), depth - 1}:
        for step in (-1, 1):
            moved = found.copy()
            moved[..., column] += step
            assert (excess(moved, scales, wanted, matrix) > least - 1e-9).all()


@pytest.mark.parametrize("depth", [30, 31])
def test_pairs_stay_exact(depth):
    box = Box(-127, 127, paired=True)
    wanted = np.sign(target(20, depth)) * np.random.default_rng(3).uniform(0.8, 1.0, (1, 20, depth))
    scales = np.full((1, 20), 1 / 127)
    codes, _ = reconstruct(wanted, system(depth), scales, box, np.zeros((1, 20)), (1.0,))
    assert np.abs(codes).max() <= 127
    assert not exceeding(codes[0].astype(np.int8)).any()
    # There were many that would not have been.
    assert exceeding(nearest(wanted, scales, box)[0].astype(np.int8)).mean() > 0.4


def test_the_fitted_scale_is_the_best_and_not_below_the_least():
    box = Box(-8, 7)
    matrix, wanted = system(10), target(5, 10)
    scales = np.full((1, 5), 0.3)
    codes = rounded_greedily(wanted, scales, matrix, box)
    fitted = refitted(codes, scales, wanted, matrix, np.zeros((1, 5)))
    for factor in (0.99, 1.01):
        other = excess(codes, fitted * factor, wanted, matrix)
        assert (other > excess(codes, fitted, wanted, matrix)).all()
    least = np.full((1, 5), 0.5)
    assert (refitted(codes, scales, wanted, matrix, least) == 0.5).all()
    zeros = refitted(np.zeros_like(codes), scales, wanted, matrix, np.zeros((1, 5)))
    np.testing.assert_allclose(zeros, scales, rtol=1e-6)


def rows(count: int, groups: int, outputs: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(1.0, 1.0, (count, groups, depth)) @ rng.normal(size=(groups, depth, depth))[0]
    return x.astype(np.float32), rng.normal(0.1, 0.2, (count, groups, outputs)).astype(np.float32)


def test_moments_tell_the_error_of_any_weights():
    x, e = rows(5000, 2, 3, 4)
    moments, parts = Moments(2, 3, 4), Moments(2, 3, 4)
    moments.add(x[:1000], e[:1000])
    parts.add(x[1000:], e[1000:])
    moments.take(parts)
    change, shift = target(3, 4, groups=2), np.full((2, 3), 0.3)
    left = e - np.einsum("god,ngd->ngo", change, x) - shift
    np.testing.assert_allclose(moments.error(change, shift), (left**2).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments.shift(change) - shift, left.mean(axis=0), rtol=1e-4)
    means = Means(2, 3, 4)
    means.add(x, e)
    np.testing.assert_allclose(means.error(change, shift), left.mean(axis=0) ** 2, rtol=1e-4)


def test_the_optimum_is_that_of_least_squares_and_a_ridge_holds_it_back():
    x, e = rows(5000, 1, 3, 4)
    e = e + x @ np.array([[0.5, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], np.float32).T
    moments = Moments(1, 3, 4)
    moments.add(x, e)
    xx, ex = moments.second(centred=True)
    weight = target(3, 4)
    change = optimum(weight, xx, ex, 0.0)[0] - weight[0]
    ones = np.concatenate([x[:, 0], np.ones((5000, 1))], axis=1)
    truth = np.linalg.lstsq(ones, e[:, 0], rcond=None)[0][:4].T
    np.testing.assert_allclose(change, truth, atol=1e-4)
    held = optimum(weight, xx, ex, 1e9)[0] - weight[0]
    assert np.abs(held).max() < 1e-6
    assert (np.linalg.eigvalsh(damped(np.zeros((2, 3, 3)), 0.1)) > 0).all()
