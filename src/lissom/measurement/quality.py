"""How well a model does its task: statistics of every sample, then intervals of both and the drop.

The statistics of a file are found once and can be kept; judging them costs no run of any model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lissom.arrays import Array, Batch
from lissom.errors import RunError, TaskError
from lissom.measurement.records import Estimate, Quality
from lissom.measurement.stats import interval, paired_bootstrap
from lissom.metric import Metric
from lissom.sessions import tensors
from lissom.targets.machine import usable_cores
from lissom.targets.named import DEFAULT, opener
from lissom.targets.target import Session
from lissom.technique import Track, silent
from lissom.user_code import showing_user_lines

if TYPE_CHECKING:
    from lissom.task import Task


def statistics_of(
    path: Path,
    task: Task,
    *,
    original: Path | None = None,
    threads: int | None = None,
    track: Track = silent,
    exact: bool = False,
    runtime: str = DEFAULT,
) -> Array:
    """The metric's statistics of every validation sample: (samples, k) float64.

    One batch at a time is in memory. Without labels the targets are the first floating output of
    `original`, which then runs beside the file batch by batch; with labels, only the file runs.

    Args:
        path: the model file.
        task: validation data and metric.
        original: the file whose outputs are the targets where there are no labels; the file
            itself where left out.
        threads: of the runtime; all usable cores where left out.
        track: shown one item for each batch.
        exact: add products of integers in 32 bits, whatever this machine's kernels do.
        runtime: the one that both run in, a name of `lissom.targets.named`.

    Raises:
        RunError: a file cannot be run on a batch, or gives NaN.
        TaskError: the task has no validation data, or they do not fit the model.
        ModelError: the runtime refuses a file.
    """
    if task.metric is None or task.validation is None:
        raise TaskError("the task has no validation data", fix="give validation=(inputs, targets)")
    threads = threads or usable_cores()
    session = opener(runtime)(path, threads=threads, exact=exact)
    reference = None
    if task.fidelity and original is not None and original.resolve() != path.resolve():
        reference = opener(runtime)(original, threads=threads, exact=exact)
    bound = task.bind(session.inputs)
    rows = []
    for batch, targets in track(bound.samples(), f"judge {path.name}", task.validation.count):
        outputs = run_batch(session, batch, path)
        if task.fidelity:
            beside = outputs
            if reference is not None and original is not None:
                beside = run_batch(reference, batch, original)
            targets = next((v for v in beside.values() if v.dtype.kind == "f"), None)
        found = task.metric.statistics(outputs, targets)
        _refuse_nan({f"statistics of the metric {task.metric.name!r}": found}, path)
        rows.append(found)
    if not rows:
        raise TaskError("the validation data are empty", fix="give at least one batch")
    return np.concatenate(rows)


def judge(
    metric: Metric | None,
    original_stats: Array,
    candidate_stats: Array,
    *,
    fidelity: bool,
    seed: int = 0,
) -> Quality:
    """The metric of both files and the drop, each with its 95 % interval.

    Both are resampled with the same samples (paired percentile bootstrap, 2,000 resamples; Efron
    & Tibshirani, 1993), so the drop's interval is as narrow as the two files are alike. A sample
    on which nothing differs shows an interval of zero width: with n samples, differences rarer
    than 3 in n go unseen.

    Args:
        metric: reduces the statistics.
        original_stats: (n, k) of the original.
        candidate_stats: (n, k) of the candidate, row by row the same samples.
        fidelity: whether the targets were the original's outputs.
        seed: seeds the resampling.

    Raises:
        TaskError: no metric, no samples, or a different number of them.
    """
    if metric is None:
        raise TaskError("there is no metric to judge by", fix="give metric='accuracy', or another")
    samples = len(original_stats)
    if samples == 0 or len(candidate_stats) != samples:
        raise TaskError(
            f"the original was judged on {samples} samples and the candidate on "
            f"{len(candidate_stats)}: they cannot be paired",
            fix="judge both on the same data; data that change from pass to pass cannot be used",
        )
    with showing_user_lines(f"the reduction of the metric {metric.name!r}", TaskError):
        draws = paired_bootstrap(metric.reduce_many, original_stats, candidate_stats, seed=seed)
        values = metric.reduce(original_stats), metric.reduce(candidate_stats)
    sign = 1.0 if metric.higher_is_better else -1.0
    return Quality(
        metric=metric.name,
        bounded=metric.bounded,
        higher_is_better=metric.higher_is_better,
        fidelity=fidelity,
        samples=samples,
        original=_estimate(values[0], draws[0]),
        value=_estimate(values[1], draws[1]),
        drop=_estimate(sign * (values[0] - values[1]), sign * (draws[0] - draws[1])),
    )


def _estimate(value: float, draws: Array) -> Estimate:
    low, high = interval(draws)
    return Estimate(value=float(value), low=low, high=high)


def run_batch(session: Session, batch: Batch, path: Path) -> dict[str, Array]:
    """The outputs of a model file for one batch, by name.

    Raises:
        RunError: the runtime cannot run it, for want of memory too, or the first floating output
            holds NaN.
    """
    try:
        found = session(batch)
    except session.errors as error:
        raise session.failed_batch(error, batch, path.name) from None
    outputs = tensors(session.outputs, found)
    first = next((name for name, array in outputs.items() if array.dtype.kind == "f"), None)
    if first is not None:
        _refuse_nan({f"output {first!r}": outputs[first]}, path)
    return outputs


def _refuse_nan(arrays: Mapping[str, Array], path: Path) -> None:
    for name, array in arrays.items():
        if np.isnan(array).any():
            raise RunError(
                f"the {name} of {path.name} contains NaN (not a number)",
                where=str(path),
                fix="the model overflows or divides by zero on these data; float16 and very "
                "small scales are the usual causes",
            )
