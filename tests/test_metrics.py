from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import spearmanr

from lissom.errors import ModelError, RequestError, TaskError
from lissom.metrics import METRICS, metric_named

RNG = np.random.default_rng(11)
LOGITS = RNG.normal(size=(30, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, 30)


def value(name, outputs, targets):
    metric = METRICS[name]
    rows = metric.statistics({"ids": np.arange(3), "y": outputs, "z": outputs * 0}, targets)
    assert metric.reduce_many(rows, np.arange(len(rows))[None])[0] == metric.reduce(rows)
    return metric.reduce(rows)


def test_accuracy_counts_the_right_answers():
    expected = np.mean([row.argmax() == label for row, label in zip(LOGITS, LABELS, strict=True)])
    assert value("accuracy", LOGITS, LABELS) == pytest.approx(expected)
    assert 0 < expected < 1


def test_f1_by_hand():
    logits = np.eye(3)[[0, 0, 1, 1]]
    # class 0: tp 1, fp 1, fn 0 -> 2/3; class 1: tp 1, fp 1, fn 1 -> 1/2; class 2: fn 1 -> 0
    assert value("f1", logits, np.array([0, 1, 1, 2])) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_spearman_of_pairs_is_scipys():
    first, second, scores = RNG.normal(size=(9, 5)), RNG.normal(size=(9, 5)), RNG.random(9)
    cosines = [a @ b / np.sqrt(a @ a * (b @ b)) for a, b in zip(first, second, strict=True)]
    expected = spearmanr(cosines, scores).statistic
    assert value("spearman", np.concatenate([first, second]), scores) == pytest.approx(expected)


def test_cosine_is_between_flattened_samples():
    a, b = RNG.normal(size=(6, 3, 2)), RNG.normal(size=(6, 3, 2))
    expected = np.mean(
        [(x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()) for x, y in zip(a, b, strict=True)]
    )
    assert value("cosine", a, b) == pytest.approx(expected)


def test_cosine_of_zero_vectors_is_one_only_between_two_of_them():
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    assert value("cosine", zero, zero) == 1.0
    assert value("cosine", zero, one) == 0.0


def test_agreement_of_the_same_outputs_is_one():
    assert value("agreement", LOGITS, LOGITS) == 1.0
    other = LOGITS.copy()
    other[:3] = np.roll(other[:3], 1, axis=1)
    assert value("agreement", LOGITS, other) == pytest.approx(27 / 30)


def test_mse_takes_a_column_beside_a_vector():
    predicted = np.array([[1.0], [2.0]], np.float32)
    assert value("mse", predicted, np.array([2.0, 4.0])) == pytest.approx(2.5)
    assert value("mse", predicted, np.array([2, 4])) == pytest.approx(2.5)
    assert value("mse", predicted[:1], np.array([2.0])) == pytest.approx(1.0)  # a batch of one
    assert not METRICS["mse"].higher_is_better


@pytest.mark.parametrize("shape", [(5, 7), (5,)])
def test_perplexity_leaves_ignored_tokens_out(shape):
    logits = RNG.normal(size=(*shape, 11)).astype(np.float32) * 30
    tokens = RNG.integers(0, 11, shape)
    tokens[..., -1:][tokens[..., -1:] > 3] = -100
    tokens[0] = -100
    likelihood = log_softmax(logits.astype(np.float64), axis=-1)
    chosen = [likelihood[at][token] for at, token in np.ndenumerate(tokens) if token != -100]
    assert value("perplexity", logits, tokens) == pytest.approx(np.exp(-np.mean(chosen)))


def test_the_first_floating_output_counts():
    with pytest.raises(TaskError, match=r"gives label \(int64\)"):
        METRICS["accuracy"].statistics({"label": LABELS}, LABELS)


def test_nan_is_the_models_fault():
    with pytest.raises(ModelError, match="'y' contains NaN"):
        value("accuracy", np.full((2, 3), np.nan), np.array([0, 1]))


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "says"),
    [
        ("accuracy", np.ones(4), np.arange(4), r"\(samples, classes\).*'y' has \(4,\)"),
        ("accuracy", np.ones((4, 1)), np.zeros(4, int), r"two classes or more"),
        ("accuracy", LOGITS, LABELS.astype(float), "one integer label per sample; got .*float64"),
        ("accuracy", LOGITS, np.eye(4, dtype=int)[LABELS], "argmax"),
        ("accuracy", LOGITS, LABELS[:, None], r"reshape\(-1\)"),
        ("accuracy", LOGITS, LABELS[:9], "30 outputs and 9 targets"),
        ("accuracy", LOGITS, LABELS + 4, "outside the model's 4 classes, 0 to 3"),
        ("f1", LOGITS, LABELS - 5, "label -"),
        ("accuracy", LOGITS, None, "needs labels"),
        ("spearman", np.ones((5, 2)), np.ones(2), r"first sentences of the batch.*\(5, 2\)"),
        ("spearman", np.ones((6, 2)), np.ones(6), r"3 pairs, targets of shape \(6,\)"),
        ("cosine", np.ones((4, 1)), np.ones((4, 1)), "'mse'"),
        ("cosine", LOGITS, LABELS, "arrays of one shape"),
        ("agreement", np.ones((4, 1)), np.ones((4, 1)), "classes"),
        ("mse", LOGITS, LABELS, "arrays of one shape"),
        ("mse", LOGITS, LABELS.astype(float), r"the metric is accuracy.*astype\(np.int64\)"),
        ("mse", LOGITS, LABELS + 0.5, "name another metric"),
        ("perplexity", LOGITS, LABELS[:, None], "vocabulary"),
        ("perplexity", LOGITS, LABELS.astype(float), "integer targets"),
        ("perplexity", LOGITS, LABELS + 4, "outside"),
    ],
)
def test_what_does_not_fit_is_said_with_what_was_expected(name, outputs, targets, says):
    with pytest.raises(TaskError, match=f"(?s){says}"):
        value(name, outputs, targets)


def test_an_unknown_metric_offers_the_nearest():
    with pytest.raises(RequestError, match="did you mean 'accuracy'"):
        metric_named("acuracy")
    assert metric_named("f1") is METRICS["f1"]


def test_directions_and_bounds():
    assert {name for name, one in METRICS.items() if not one.higher_is_better} == {
        "mse",
        "perplexity",
    }
    assert {name for name, one in METRICS.items() if not one.needs_labels} == {
        "cosine",
        "agreement",
        "mse",
    }
    assert {name for name, one in METRICS.items() if not one.bounded} == {"mse", "perplexity"}
