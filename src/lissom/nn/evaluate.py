"""How well a torch module does its task, by the task's own metric."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lissom.arrays import Array
from lissom.errors import TaskError
from lissom.nn.calls import Call
from lissom.nn.feed import tensor_of
from lissom.nn.wrappers import evaluating
from lissom.task import Task


def evaluate(
    module: nn.Module, task: Task, call: Call, *, original: nn.Module | None = None
) -> float:
    """The task's metric over all validation data, one batch at a time.

    Without labels the targets are the first floating output of `original`.

    Raises:
        TaskError: there are no validation data, or nothing to compare outputs with.
        ModelError: an output is NaN.
    """
    if task.metric is None or task.validation is None:
        raise TaskError("the task has no validation data", fix="give validation=(inputs, targets)")
    if task.fidelity and original is None:
        raise TaskError(
            "validation without labels needs the original network to compare with",
            fix="give validation=(inputs, targets)",
        )
    statistics = []
    for batch, targets in task.bind(call.names).samples():
        outputs = _outputs(module, call, batch)
        if task.fidelity:
            assert original is not None
            beside = _outputs(original, call, batch).values()
            targets = next((value for value in beside if value.dtype.kind == "f"), None)
        statistics.append(task.metric.statistics(outputs, targets))
    return float(task.metric.reduce(np.concatenate(statistics)))


def _outputs(module: nn.Module, call: Call, batch: dict[str, Array]) -> dict[str, Array]:
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    inputs = {name: tensor_of(array, name).to(device) for name, array in batch.items()}
    with evaluating(module):
        outputs = call.named(module, inputs)
    return {name: _array(value) for name, value in outputs.items()}


def _array(value: torch.Tensor) -> Array:
    if value.dtype == torch.bfloat16:
        value = value.float()
    array: Array = value.cpu().numpy()
    return array
