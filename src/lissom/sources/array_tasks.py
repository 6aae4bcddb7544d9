"""A task from an .npz file: its arrays are the model's inputs, `labels` the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lissom.arrays import Array, Batch, take, whole_rows
from lissom.batches import Batches
from lissom.errors import TaskError
from lissom.labelled import Labelled
from lissom.metric import Metric
from lissom.metrics import METRICS, default_metric
from lissom.sources.npz import read_npz
from lissom.sources.split import fixed_batch, hold_out, whole_batches
from lissom.task import Task

if TYPE_CHECKING:
    from lissom.model import TensorSpec

LABELS = ("labels", "targets")
# Rows that are looked at together: bounds the memory of the look.
ROWS_AT_ONCE = 1024


def array_task(
    path: Path,
    specs: Sequence[TensorSpec] | None,
    metric: Metric | None,
    batch_size: int,
    name: str,
) -> Task:
    """A task whose file is split: some samples calibrate, the others judge.

    Raises:
        TaskError: the file is not as it must be, or the metric does not go with it.
    """
    inputs, labels = _apart(read_npz(path), specs, path)
    return task_of_arrays(inputs, labels, specs, metric, batch_size, name, str(path))


def task_of_arrays(
    inputs: Batch,
    labels: Array | None,
    specs: Sequence[TensorSpec] | None,
    metric: Metric | None,
    batch_size: int,
    name: str,
    where: str,
    notes: Sequence[str] = (),
) -> Task:
    """A task of whole arrays, some samples of which calibrate while the others judge.

    Raises:
        TaskError: inputs and labels do not belong together, or the metric does not go with them.
    """
    metric = metric or METRICS[default_metric(labels)]
    rows = max(1, metric.rows) if labels is not None else 1
    total = whole_rows(inputs, where)
    if labels is not None and (labels.ndim == 0 or len(labels) * rows != total):
        raise TaskError(
            f"there are {total} rows of inputs and {labels.size and len(np.atleast_1d(labels))} "
            f"labels, and the metric {metric.name!r} takes {rows} row{'s' * (rows > 1)} per label",
            where=where,
            fix=_one_label_each(rows, labels),
        )
    _check_finite(inputs if labels is None else {**inputs, "labels": labels}, where)
    size = fixed_batch(specs)
    per_batch = None if size is None else max(1, size // rows)
    calibration, validation = (
        whole_batches(samples, per_batch) for samples in hold_out(total // rows)
    )
    return Task(
        calibration=Batches.of(
            take(inputs, _rows(calibration, rows, total)), batch_size=size or batch_size
        ),
        validation=replace(
            Labelled.whole(
                take(inputs, _rows(validation, rows, total)),
                None if labels is None else labels[validation],
                rows,
                size or batch_size,
            ),
            origin=lambda sample: f"{where}, row {validation[sample]}",
        ),
        metric=metric,
        name=name,
        notes=notes,
    )


def _one_label_each(rows: int, labels: Array) -> str:
    if rows == 1:
        return "give one label for each row, in the order of the rows; or none at all"
    if labels.ndim == 0:
        return "give the labels one axis, as long as there are samples"
    return (
        f"give the first members of all {len(labels)} samples, then the second: "
        f"{rows * len(labels)} rows; or choose a metric of single rows, such as --metric accuracy"
    )


def _check_finite(inputs: Batch, where: str) -> None:
    """Here the row's number is still that in the file."""
    for name, array in inputs.items():
        for start in range(0, len(array) if array.dtype.kind in "fc" else 0, ROWS_AT_ONCE):
            part = array[start : start + ROWS_AT_ONCE]
            if not np.isfinite(part).all():
                row = start + int(np.argwhere(~np.isfinite(part))[0][0])
                kind = "NaN" if np.isnan(array[row]).any() else "infinity"
                raise TaskError(
                    f"{name!r} contains {kind}",
                    where=f"{where}, row {row}",
                    fix="clean the data: np.isfinite finds the rows",
                )


def _apart(
    arrays: dict[str, Array], specs: Sequence[TensorSpec] | None, path: Path
) -> tuple[Batch, Array | None]:
    """Inputs and labels; an input of the model that is called `labels` stays an input."""
    taken = {spec.name for spec in specs or ()}
    found = [name for name in LABELS if name in arrays and name not in taken]
    if len(found) > 1:
        raise TaskError("the file has labels and targets", where=str(path), fix="keep one of them")
    inputs = {name: array for name, array in arrays.items() if name not in found}
    if not inputs:
        raise TaskError("the file has labels and no inputs", where=str(path))
    return inputs, arrays[found[0]] if found else None


def _rows(samples: Array, rows: int, total: int) -> Array:
    """The rows of samples: sample i is made of rows i, i + n, i + 2n ..., n samples in all."""
    return np.concatenate([samples + member * (total // rows) for member in range(rows)])
