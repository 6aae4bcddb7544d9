"""A metric is statistics of every sample, their reduction to one number, and a direction.

That is what makes intervals honest and cheap: the model runs once, the bootstrap resamples rows
of statistics, and each resample is reduced again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import TypeAlias

import numpy as np

from lissom.arrays import Array
from lissom.errors import ModelError, TaskError
from lissom.user_code import showing_user_lines

Outputs: TypeAlias = dict[str, Array]
Statistics: TypeAlias = "Callable[[Outputs, Array | None], Array]"
Reduce: TypeAlias = Callable[[Array], float]

# Elements of one chunk of resamples, so that the bootstrap needs some 100 MB at most.
CHUNK = 2**21


@dataclass(frozen=True)
class Metric:
    """How well a model does; your own as well: `Metric("name", statistics, reduce)`.

    Attributes:
        name: what the report calls it; part of the digest, as is the source of the functions.
            Rename it when you change what they call or close over.
        statistics: `(outputs, targets) -> (samples, k)` for one batch. `outputs` maps the
            model's output names to arrays. `targets` are the batch's targets; without labels
            they are the first floating output of the original model.
        reduce: `(samples, k) -> float`, over all batches together. Default: mean of column 0.
        higher_is_better: the direction.
        needs_labels: False if it also makes sense between a model and the original's output.
        bounded: True if its values live on 0..1 or -1..1, so that one point ("1pt") is 0.01.
        rows: how many rows of a batch make one sample; 0 if that varies, and is not checked.
        resamples: `(statistics (n, k), indices (b, n)) -> (b,)`, the reduction vectorised over
            resamples. Default: `reduce` in a loop.
    """

    name: str
    statistics: Statistics = field(repr=False)
    reduce: Reduce = field(default=lambda values: float(values[:, 0].mean()), repr=False)
    higher_is_better: bool = True
    needs_labels: bool = True
    bounded: bool = False
    rows: int = 1
    resamples: Callable[[Array, Array], Array] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # Whoever calls .statistics gets checked rows, of a user's metric as of ours.
        object.__setattr__(self, "statistics", _checked(self.name, self.statistics))

    def reduce_many(self, statistics: Array, indices: Array) -> Array:
        """The reduction of every resample: statistics (n, k), indices (b, n) -> (b,)."""
        values = np.empty(len(indices))
        step = max(1, CHUNK // max(1, indices.shape[1]))
        for start in range(0, len(indices), step):
            chunk = indices[start : start + step]
            if self.resamples is not None:
                values[start : start + step] = self.resamples(statistics, chunk)
            else:
                values[start : start + step] = [self.reduce(statistics[rows]) for rows in chunk]
        return values


def _checked(metric: str, statistics: Statistics) -> Statistics:
    @wraps(statistics)
    def checked(outputs: Outputs, targets: Array | None) -> Array:
        with showing_user_lines(f"the metric {metric!r}", TaskError):
            rows = np.asarray(statistics(outputs, targets), dtype=np.float64)
        if rows.ndim == 1:
            rows = rows[:, None]
        if rows.ndim != 2:
            raise TaskError(
                f"the statistics of the metric {metric!r} have shape {rows.shape}",
                fix="return (samples, k): one row of numbers for every sample of the batch",
            )
        if np.isnan(rows).any():
            undefined = int(np.isnan(rows).any(axis=1).sum())
            raise ModelError(
                f"the metric {metric!r} is undefined (NaN) for {undefined} of {len(rows)} samples "
                "of a batch",
                fix="look for NaN or infinity in the model's outputs",
            )
        return rows

    return checked


def mean(statistics: Array, indices: Array) -> Array:
    means: Array = statistics[indices, 0].mean(axis=1)
    return means


def macro_f1(statistics: Array, indices: Array) -> Array:
    """Mean over the classes that a resample holds, predicted or true, of 2tp / (2tp + fp + fn)."""
    pairs = statistics.astype(np.int64)
    present, pairs = np.unique(pairs, return_inverse=True)
    predicted, labels = pairs.reshape(statistics.shape).T
    shape = (len(indices), len(present))
    cell = np.arange(len(indices))[:, None] * len(present)

    def counts(cells: Array) -> Array:
        counted: Array = np.bincount(cells.ravel(), minlength=shape[0] * shape[1])
        return counted.reshape(shape)

    hits = counts((cell + labels[indices])[(predicted == labels)[indices]])
    either = counts(cell + labels[indices]) + counts(cell + predicted[indices])
    scores = np.divide(2.0 * hits, either, out=np.zeros(shape), where=either > 0)
    means: Array = scores.sum(axis=1) / (either > 0).sum(axis=1)
    return means


def rank_correlation(statistics: Array, indices: Array) -> Array:
    """Spearman's rho of columns 0 and 1 (ties get average ranks); 0 where a column is constant."""
    from scipy.stats import rankdata  # slow to import

    first, second = (rankdata(statistics[indices, column], axis=1) for column in (0, 1))
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    product = (first * second).sum(axis=1)
    scale = np.sqrt(np.square(first).sum(axis=1) * np.square(second).sum(axis=1))
    correlation: Array = np.divide(product, scale, out=np.zeros(len(indices)), where=scale > 0)
    return correlation


def per_token(statistics: Array, indices: Array) -> Array:
    """exp(total negative log-likelihood / total tokens)."""
    totals = statistics[indices].sum(axis=1)
    perplexity: Array = np.exp(totals[:, 0] / np.maximum(totals[:, 1], 1))
    return perplexity


def once(resamples: Callable[[Array, Array], Array]) -> Reduce:
    """The plain reduction from the vectorised one: a single resample that is the sample."""
    return lambda statistics: float(resamples(statistics, np.arange(len(statistics))[None])[0])
