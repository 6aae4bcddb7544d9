"""Codes under the condition on pairs, against trying every code."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lissom.quantize.pairs import codes_at, fit, project
from lissom.targets.pairing import LARGEST_PAIR, exceeding
from tests.graph.small import draw

WIDE = np.arange(-127, 128)


def saturated(activations: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """What pmaddubsw leaves of the sum of two products."""
    return np.clip((activations * codes).sum(axis=-1), -(2**15), 2**15 - 1)


def test_the_condition_is_the_instruction_s_own() -> None:
    """For all pairs of codes: allowed exactly if the worst activations are added right."""
    pairs = np.stack(np.meshgrid(WIDE, WIDE, indexing="ij"), axis=-1)
    wrong = np.zeros(pairs.shape[:2], bool)
    for activations in itertools.product((0, 255), repeat=2):
        worst = np.array(activations)
        wrong |= saturated(worst, pairs) != (worst * pairs).sum(axis=-1)
    found = exceeding(pairs.reshape(-1, 2).astype(np.int8)).reshape(wrong.shape)
    np.testing.assert_array_equal(found, wrong)


def test_the_lowest_code_and_an_odd_end() -> None:
    rows = np.array([[-128, -1, 127], [-128, 0, 127], [127, 127, 0], [1, 127, 127]], np.int8)
    assert exceeding(rows)[:, 0].tolist() == [True, False, True, False]
    assert exceeding(rows[:, :1]).shape == (4, 0)


def best_pair(target: np.ndarray) -> float:
    """The least squared error of two codes, by trying all that are allowed."""
    pairs = np.stack(np.meshgrid(WIDE, WIDE, indexing="ij"), axis=-1).reshape(-1, 2)
    pairs = pairs[~exceeding(pairs.astype(np.int8))[:, 0]]
    return float(((pairs - target) ** 2).sum(axis=1).min())


@pytest.mark.parametrize("seed", range(3))
def test_codes_at_a_scale_are_the_best_there_are(seed: int) -> None:
    draws = np.random.default_rng(seed)
    targets = (draws.uniform(0, 140, (40, 2)) * draws.choice([-1, 1], (40, 1))).astype(np.float32)
    targets[::5, 1] *= -1
    codes = codes_at(targets, np.ones(40, np.float32))
    assert not exceeding(codes).any()
    found = ((codes - targets) ** 2).sum(axis=1)
    truth = [best_pair(target) for target in targets]
    np.testing.assert_allclose(found, truth, rtol=1e-4)


def test_a_projected_pair_adds_up_to_the_limit() -> None:
    first, second = project(np.float32([100, 140, 127]), np.float32([60, 2, 127]))
    assert first.tolist() == [84, 127, 64]
    assert (first + second == LARGEST_PAIR).all()


@pytest.mark.parametrize("seed", range(4))
def test_scales_are_as_good_as_a_fine_search(seed: int) -> None:
    matrix = draw(6, 7, seed=seed)
    codes, scales = fit(matrix)
    error = ((matrix - codes * scales[:, None]) ** 2).sum(axis=1)
    fits = np.abs(matrix).max(axis=1) / np.float32(127)
    first, second = matrix[:, 0:6:2], matrix[:, 1:6:2]
    sums = np.where(first * second > 0, np.abs(first + second), 0)
    top = np.maximum(fits, sums.max(axis=1) / np.float32(128))
    best = np.full(6, np.inf)
    for share in np.linspace(0.0, 1.0, 4000, dtype=np.float32):
        tried = fits + share * (top - fits)
        q = codes_at(matrix, tried)
        best = np.minimum(best, ((matrix - q * tried[:, None]) ** 2).sum(axis=1))
    assert (np.sqrt(error) <= 1.25 * np.sqrt(best)).all()
    assert np.sqrt(error).mean() <= 1.05 * np.sqrt(best).mean()
    assert not exceeding(codes).any()


def test_pairs_are_far_better_than_half_the_range() -> None:
    matrix = draw(32, 64)
    codes, scales = fit(matrix)
    pairs = ((matrix - codes * scales[:, None]) ** 2).mean()
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    full, half = (
        ((matrix - np.rint(matrix / step) * step) ** 2).mean()
        for step in (largest / 127, largest / 63)
    )
    # A step twice as large has four times the error.
    assert full < pairs < 0.6 * half


def test_channels_of_zeros_of_dust_and_of_one_number() -> None:
    matrix = np.zeros((3, 5), np.float32)
    matrix[1] = 1e-42
    matrix[2, 3] = -2.0
    codes, scales = fit(matrix)
    assert scales[:2].tolist() == [1.0, 1.0]
    assert not codes[:2].any()
    np.testing.assert_allclose(codes[2] * scales[2], matrix[2], rtol=1e-6)


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = draw(33, 12)
    whole = fit(matrix)
    monkeypatch.setattr("lissom.quantize.pairs.PIECE", 40)
    for one, other in zip(fit(matrix), whole, strict=True):
        np.testing.assert_array_equal(one, other)
