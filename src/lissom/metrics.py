"""The built-in metrics: what each looks at in a batch of outputs, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lissom.arrays import Array
from lissom.errors import ModelError, TaskError, unknown
from lissom.metric import Metric, Outputs, macro_f1, mean, once, per_token, rank_correlation

__all__ = ["METRICS", "Metric", "metric_named"]

IGNORED = -100  # the target that perplexity leaves out, as in torch's cross_entropy


def metric_named(name: str) -> Metric:
    """The built-in metric of that name.

    Raises:
        RequestError: there is none; the nearest name is offered.
    """
    try:
        return METRICS[name]
    except KeyError:
        raise unknown("metric", name, METRICS) from None


def prediction(outputs: Outputs, metric: str) -> tuple[str, Array]:
    """The name and values of the output a built-in metric looks at: the first floating one.

    Raises:
        TaskError: the model has no floating output.
        ModelError: the output contains NaN.
    """
    for name, values in outputs.items():
        if np.issubdtype(values.dtype, np.floating):
            if np.isnan(values).any():
                raise ModelError(f"the model's output {name!r} contains NaN")
            return name, values
    found = ", ".join(f"{name} ({values.dtype})" for name, values in outputs.items())
    raise TaskError(
        f"the metric {metric!r} needs a floating output; the model gives {found or 'none'}",
        fix="write your own: lissom.Metric(name, statistics, reduce)",
    )


def _accuracy(outputs: Outputs, targets: Array | None) -> Array:
    predicted, labels = _classes(outputs, targets, "accuracy")
    right: Array = (predicted == labels)[:, None]
    return right


def _f1(outputs: Outputs, targets: Array | None) -> Array:
    return np.stack(_classes(outputs, targets, "f1"), axis=1)


def _classes(outputs: Outputs, targets: Array | None, metric: str) -> tuple[Array, Array]:
    """Predicted and true class of every sample."""
    name, scores = prediction(outputs, metric)
    labels = _given(targets, metric)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise _shape(metric, name, "(samples, classes) with two classes or more", scores.shape)
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        hint = "targets.reshape(-1)"
        if labels.shape == scores.shape:
            hint = "targets.argmax(axis=1) if they are one-hot"
        elif labels.ndim == 1:
            hint = "targets.astype(np.int64)"
        raise TaskError(
            f"the metric {metric!r} needs one integer label per sample; "
            f"got targets of {labels.dtype}, shape {labels.shape}",
            fix=hint,
        )
    _same_count(metric, len(scores), len(labels))
    check_labels(metric, labels, scores.shape[1])
    return scores.argmax(axis=1), labels


def _spearman(outputs: Outputs, targets: Array | None) -> Array:
    name, embeddings = prediction(outputs, "spearman")
    scores = _given(targets, "spearman")
    if embeddings.ndim != 2 or embeddings.shape[1] < 2 or len(embeddings) % 2:
        wanted = "(2 x pairs, width): the first sentences of the batch, then the second ones"
        raise _shape("spearman", name, wanted, embeddings.shape)
    pairs = len(embeddings) // 2
    if scores.shape != (pairs,):
        raise TaskError(
            f"the metric 'spearman' needs one score per pair: {pairs} pairs, "
            f"targets of shape {scores.shape}"
        )
    return np.stack([_cosines(embeddings[:pairs], embeddings[pairs:]), scores], axis=1)


def _cosine(outputs: Outputs, targets: Array | None) -> Array:
    name, values = prediction(outputs, "cosine")
    wanted = _alike("cosine", name, values, targets)
    if values.ndim < 2 or values[:1].size < 2:
        raise TaskError(
            f"the metric 'cosine' compares vectors; the output {name!r} has one number per sample",
            fix="use the metric 'mse'",
        )
    return _cosines(values, wanted)[:, None]


def _agreement(outputs: Outputs, targets: Array | None) -> Array:
    name, values = prediction(outputs, "agreement")
    wanted = _alike("agreement", name, values, targets)
    if values.ndim < 2 or values.shape[-1] < 2:
        raise _shape("agreement", name, "(samples, ..., classes)", values.shape)
    same = values.argmax(axis=-1) == wanted.argmax(axis=-1)
    agreed: Array = same.reshape(len(values), -1).mean(axis=1, keepdims=True)
    return agreed


def _mse(outputs: Outputs, targets: Array | None) -> Array:
    name, values = prediction(outputs, "mse")
    if targets is not None and targets.shape == values.shape[:1] and values.size == len(values):
        targets = targets.reshape(values.shape)  # (samples,) beside (samples, 1)
    wanted = _alike("mse", name, values, targets)
    errors = np.square(values.astype(np.float64) - wanted)
    means: Array = errors.reshape(len(values), -1).mean(axis=1, keepdims=True)
    return means


def _perplexity(outputs: Outputs, targets: Array | None) -> Array:
    """Negative log-likelihood (nats) and number of the tokens of every sample."""
    name, logits = prediction(outputs, "perplexity")
    tokens = _given(targets, "perplexity")
    if logits.ndim < 2 or logits.shape[:-1] != tokens.shape:
        wanted = f"(*targets.shape, vocabulary), targets.shape being {tokens.shape}"
        raise _shape("perplexity", name, wanted, logits.shape)
    if not np.issubdtype(tokens.dtype, np.integer):
        raise TaskError(f"the metric 'perplexity' needs integer targets, got {tokens.dtype}")
    counted = tokens != IGNORED
    check_labels("perplexity", tokens[counted], logits.shape[-1])
    statistics = np.zeros((len(logits), 2))
    for row, (scores, wanted, keep) in enumerate(zip(logits, tokens, counted, strict=True)):
        # One sample at a time: a batch of logits in double precision may not fit in memory.
        chosen = scores[keep].astype(np.float64)
        top = chosen.max(axis=-1, keepdims=True, initial=-np.inf)
        total = np.log(np.exp(chosen - top).sum(axis=-1)) + top[..., 0]
        likelihood = np.take_along_axis(chosen, wanted[keep][..., None], axis=-1)[..., 0] - total
        statistics[row] = -likelihood.sum(), keep.sum()
    return statistics


def _given(targets: Array | None, metric: str) -> Array:
    if targets is None:
        raise TaskError(
            f"the metric {metric!r} needs labels, and the validation data have none",
            fix="give validation=(inputs, targets), or use a metric without labels: "
            + ", ".join(name for name, each in METRICS.items() if not each.needs_labels),
        )
    return targets


def _alike(metric: str, name: str, values: Array, targets: Array | None) -> Array:
    wanted = _given(targets, metric)
    if wanted.shape != values.shape:
        numbers = wanted.ndim == 1 and values.ndim == 2 and wanted.dtype.kind in "iuf"
        classes = numbers and not (wanted % 1).any()
        raise TaskError(
            f"the metric {metric!r} compares arrays of one shape; the output {name!r} has "
            f"{values.shape} and its target {wanted.shape}",
            fix="if the targets are class numbers, the metric is accuracy, and they are integers: "
            "labels.astype(np.int64)"
            if classes
            else "give targets of the output's shape, or name another metric",
        )
    return wanted


def _shape(metric: str, name: str, wanted: str, got: tuple[int, ...]) -> TaskError:
    return TaskError(
        f"the metric {metric!r} needs an output of shape {wanted}; {name!r} has {got}",
        fix="choose another metric, or write one: lissom.Metric(name, statistics, reduce)",
    )


def _same_count(metric: str, outputs: int, targets: int) -> None:
    if outputs != targets:
        raise TaskError(
            f"the metric {metric!r} got {outputs} outputs and {targets} targets in one batch",
            fix="give one target per row of the inputs",
        )


def check_labels(
    metric: str, labels: Array, classes: int, place: Callable[[int], str] | None = None
) -> None:
    """Refuse class numbers that the model has no output for; `place` says where a row lies.

    Raises:
        TaskError: there is one.
    """
    if labels.dtype.kind not in "iu":
        return
    wrong = (labels < 0) | (labels >= classes)
    if metric == "perplexity":
        wrong &= labels != IGNORED
    outside = labels[wrong]
    if outside.size:
        raise TaskError(
            f"the label {outside.flat[0]} is outside the model's {classes} classes, "
            f"0 to {classes - 1} (metric {metric!r})",
            where=None if place is None else place(int(np.argwhere(wrong)[0][0])),
            fix="number the classes from 0, in the order of the model's output",
        )


def _cosines(first: Array, second: Array) -> Array:
    """Cosine of every row with its partner; 1 where both are zero, 0 where one is."""
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (first, second))
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    scale = lengths[0] * lengths[1]
    cosines: Array = np.divide((a * b).sum(axis=1), scale, out=np.zeros(len(a)), where=scale != 0)
    cosines[(lengths[0] == 0) & (lengths[1] == 0)] = 1.0
    return cosines


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _accuracy, once(mean), bounded=True, resamples=mean),
        Metric("f1", _f1, once(macro_f1), bounded=True, resamples=macro_f1),
        Metric(
            "spearman",
            _spearman,
            once(rank_correlation),
            bounded=True,
            rows=2,
            resamples=rank_correlation,
        ),
        Metric("cosine", _cosine, once(mean), needs_labels=False, bounded=True, resamples=mean),
        Metric(
            "agreement", _agreement, once(mean), needs_labels=False, bounded=True, resamples=mean
        ),
        Metric("mse", _mse, once(mean), higher_is_better=False, needs_labels=False, resamples=mean),
        Metric(
            "perplexity", _perplexity, once(per_token), higher_is_better=False, resamples=per_token
        ),
    )
}


def default_metric(targets: Array | None) -> str:
    """The metric that goes with such targets.

    Raises:
        TaskError: none does, one has to be chosen.
    """
    if targets is None:
        return "cosine"
    if targets.ndim == 1 and targets.dtype.kind in "iu":
        return "accuracy"
    if _is_one_hot(targets):
        raise TaskError(
            f"the targets look one-hot: shape {targets.shape}, one 1 in every row",
            where="validation",
            fix="give class numbers, labels.argmax(1), for accuracy; or name a metric",
        )
    if targets.dtype.kind == "f":
        return "mse"
    fix = f"name one: {', '.join(METRICS)}"
    if targets.dtype.kind in "USO":
        fix = "number the classes from 0, in the order of the model's output"
    elif targets.dtype.kind in "iub" and targets.size == len(targets):
        fix = "give one integer for each sample, for accuracy: labels.reshape(-1).astype(np.int64)"
    raise TaskError(
        f"no metric goes without saying with targets of {targets.dtype}, shape {targets.shape}",
        where="validation",
        fix=fix,
    )


def _is_one_hot(targets: Array) -> bool:
    if targets.ndim != 2 or targets.shape[1] < 2 or targets.dtype.kind not in "iufb":
        return False
    return bool(np.isin(targets, (0, 1)).all() and (targets.sum(1) == 1).all())
