"""How long a planned recipe may take and how much memory, from a few runs of the model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from lissom.labelled import batch_rows
from lissom.model import Model
from lissom.recipe.plan import Planned
from lissom.report.text import duration, size
from lissom.task import Task

# A training step runs forward, backward to the weights and backward to the inputs.
PASSES_OF_TRAINING = 3
# Weights, gradients, momentum, and a second copy for the best so far.
COPIES_OF_TRAINING = 4
RUNS = 3


@dataclass(frozen=True)
class Estimated:
    """A planned step with its expected seconds and bytes; None where there is nothing to go by."""

    planned: Planned
    seconds: float | None
    memory: int | None

    @property
    def words(self) -> str:
        """The expectation as a person reads it."""
        if self.seconds is None:
            return "not known without the data"
        held = f", {size(self.memory)} besides the data" if self.memory else ""
        return f"about {duration(self.seconds)} on this machine{held}"


def estimate(planned: Sequence[Planned], model: Model, task: Task | None) -> tuple[Estimated, ...]:
    """Expect of every step what runs of the model on the task's own batches suggest.

    A step that trains costs three forward passes for each sample and epoch, one that calibrates
    one for each calibration sample; rewriting a graph is taken as one pass over its weights.

    Raises:
        TaskError: the data do not fit the model.
        ModelError: the runtime refuses the model or a batch.
    """
    per_sample, weights = _forward(model, task)
    return tuple(_of(each, per_sample, weights, task) for each in planned)


def _of(each: Planned, per_sample: float | None, weights: int, task: Task | None) -> Estimated:
    settings: Any = each.step.settings()
    if "training" in each.needs:
        samples = _training_samples(task)
        epochs = getattr(getattr(settings, "training", settings), "epochs", None)
        if per_sample is None or samples is None or epochs is None:
            return Estimated(each, None, None)
        seconds = PASSES_OF_TRAINING * epochs * samples * per_sample
        return Estimated(each, seconds, COPIES_OF_TRAINING * weights)
    if "calibration" in each.needs:
        samples = calibration_samples(task)
        if per_sample is None or samples is None:
            return Estimated(each, None, None)
        return Estimated(each, samples * per_sample + 1.0, 2 * weights)
    return Estimated(each, 1.0 + weights / 1e8, 2 * weights)


def _forward(model: Model, task: Task | None) -> tuple[float | None, int]:
    """Seconds of one sample forward on a batch of the task's, and bytes of the weights."""
    if model.kind == "onnx":
        return _forward_onnx(model, task)
    import torch

    from lissom.measurement.whole import first_batch
    from lissom.recipe.prepare import declared_inputs
    from lissom.recipe.stages import torch_model

    network = torch_model(model, None)
    weights = sum(p.numel() * p.element_size() for p in network.module.parameters())
    inputs: Mapping[str, Any] = network.example_inputs
    if task is not None:
        declared = declared_inputs(model)
        task.check(declared)
        batch = first_batch(task, declared)
        inputs = inputs if batch is None else {n: torch.as_tensor(a) for n, a in batch.items()}
    rows = max(1, batch_rows(inputs))
    best = float("inf")
    with torch.inference_mode():
        for _ in range(RUNS + 1):
            started = time.perf_counter()
            network.run(inputs)
            best = min(best, time.perf_counter() - started)
    return best / rows, weights


def _forward_onnx(model: Model, task: Task | None) -> tuple[float | None, int]:
    from lissom.measurement.footprint import size_on_disk
    from lissom.measurement.whole import first_batch
    from lissom.onnx_file import inputs_of
    from lissom.sessions import SESSION_ERRORS, failed_batch, open_session

    assert model.path is not None
    weights = size_on_disk(model.path)
    inputs = inputs_of(model.path)
    if task is not None:
        task.check(inputs)
    batch = first_batch(task, inputs)
    if batch is None:
        return None, weights
    session = open_session(model.path)
    rows = max(1, batch_rows(batch))
    best = float("inf")
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        try:
            session.run(None, batch)
        except SESSION_ERRORS as error:
            raise failed_batch(error, batch, model.path.name, model.path) from None
        best = min(best, time.perf_counter() - started)
    return best / rows, weights


def _training_samples(task: Task | None) -> int | None:
    """Rows of whole arrays; for batches with a length, as many as the first has, each."""
    data = task.train if task is not None else None
    if data is None or data.rows is not None or not isinstance(data.source, Sized):
        return data.rows if data is not None else None
    first = next(data.look(1), None)
    return None if first is None else len(data.source) * batch_rows(first[0])


def calibration_samples(task: Task | None) -> int | None:
    """Rows of the calibration data, which are read for it; None where there are none."""
    if task is None or task.calibration is None:
        return None
    return sum(batch_rows(batch) for batch in task.calibration)
