"""Model, metric and labels tried on one batch, before any long work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lissom.conform import conform
from lissom.errors import TaskError
from lissom.measurement.quality import run_batch
from lissom.metrics import METRICS, prediction
from lissom.targets.machine import usable_cores
from lissom.targets.named import DEFAULT, opener

if TYPE_CHECKING:
    from lissom.model import TensorSpec
    from lissom.task import Task

# Their targets are numbers of classes, the last axis of the output.
OF_CLASSES = ("accuracy", "f1", "perplexity")
WHERE = "validation, batch 0"


def rehearse(
    path: Path, task: Task, inputs: Sequence[TensorSpec], runtime: str = DEFAULT
) -> int | None:
    """Judge the original on the first validation batch and forget the answer.

    Returns:
        How many classes the model tells apart, where the metric takes class numbers.

    Raises:
        TaskError: the batch, the metric or its labels do not fit the model's outputs.
        RunError: the model cannot be run on the batch, or gives NaN.
    """
    metric = task.metric
    first = next(iter(task.bind([spec.name for spec in inputs]).samples()), None)
    if metric is None or first is None:
        return None
    batch, targets = first
    conform(batch, inputs, WHERE)
    outputs = run_batch(opener(runtime)(path, threads=usable_cores()), batch, path)
    if task.fidelity:
        targets = next((v for v in outputs.values() if v.dtype.kind == "f"), None)
    try:
        metric.statistics(outputs, targets)
    except TaskError as error:
        error.where = error.where or WHERE
        raise
    if metric.name not in OF_CLASSES or METRICS[metric.name] is not metric:
        return None
    return int(prediction(outputs, metric.name)[1].shape[-1])
