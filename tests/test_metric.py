from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from lissom import metric as metric_module
from lissom.errors import ModelError, TaskError
from lissom.metric import Metric, macro_f1, mean, per_token, rank_correlation

RNG = np.random.default_rng(3)
N, B = 40, 25
INDICES = RNG.integers(0, N, (B, N))


def naive_f1(predicted, labels):
    scores = []
    for one in sorted(set(predicted) | set(labels)):
        hits = sum(p == one == t for p, t in zip(predicted, labels, strict=True))
        precision = hits / max(1, sum(p == one for p in predicted))
        recall = hits / max(1, sum(t == one for t in labels))
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return np.mean(scores)


REFERENCES = {
    "mean": (mean, RNG.normal(size=(N, 1)), lambda rows: rows[:, 0].mean()),
    "f1": (
        macro_f1,
        np.stack([RNG.integers(0, 9, N), RNG.integers(3, 12, N)], 1).astype(float),
        lambda rows: naive_f1(rows[:, 0], rows[:, 1]),
    ),
    "spearman": (
        rank_correlation,
        RNG.integers(0, 15, (N, 2)).astype(float),  # many ties
        lambda rows: spearmanr(rows[:, 0], rows[:, 1]).statistic,
    ),
    "perplexity": (
        per_token,
        np.stack([RNG.random(N) * 9, RNG.integers(1, 7, N)], 1),
        lambda rows: np.exp(rows[:, 0].sum() / rows[:, 1].sum()),
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_resamples_agree_with_a_slow_reference(name):
    resamples, rows, reference = REFERENCES[name]
    expected = [reference(rows[chosen]) for chosen in INDICES]
    np.testing.assert_allclose(resamples(rows, INDICES), expected, rtol=1e-12)
    assert np.std(expected) > 0


def test_chunks_do_not_change_the_resamples(monkeypatch):
    resamples, rows, _ = REFERENCES["f1"]
    metric = Metric("f1", lambda o, t: rows, resamples=resamples)
    whole = metric.reduce_many(rows, INDICES)
    monkeypatch.setattr(metric_module, "CHUNK", 3 * N)
    np.testing.assert_array_equal(metric.reduce_many(rows, INDICES), whole)


def test_a_metric_of_ones_own_needs_only_statistics_and_a_reduction():
    worst = Metric("worst", lambda outputs, targets: outputs["y"][:, 0], lambda rows: rows.min())
    rows = worst.statistics({"y": np.array([[3], [1], [2]])}, None)
    assert rows.shape == (3, 1)
    assert rows.dtype == np.float64
    assert worst.reduce(rows) == 1.0
    np.testing.assert_array_equal(worst.reduce_many(rows, np.array([[0, 0], [2, 1]])), [3, 1])


def test_the_default_reduction_is_the_mean():
    assert Metric("m", lambda outputs, targets: outputs["y"]).reduce(np.array([[1.0], [2]])) == 1.5


def test_statistics_of_a_wrong_shape_are_refused():
    with pytest.raises(TaskError, match=r"'m' have shape \(\)"):
        Metric("m", lambda outputs, targets: np.float64(3)).statistics({}, None)


def test_undefined_statistics_are_the_models_fault():
    metric = Metric("m", lambda outputs, targets: outputs["y"])
    with pytest.raises(ModelError, match="NaN\\) for 1 of 2 samples"):
        metric.statistics({"y": np.array([1.0, np.nan])}, None)


def test_a_constant_column_has_no_rank_correlation():
    rows = np.array([[1.0, 5], [1, 6], [1, 7]])
    assert rank_correlation(rows, np.arange(3)[None])[0] == 0.0
