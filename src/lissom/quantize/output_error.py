"""How far the outputs of two graphs lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.quantize.replay import Replay

Batch = Mapping[str, NDArray[Any]]


def output_errors(
    reference: ir.Model, models: Sequence[ir.Model], batches: Sequence[Batch]
) -> list[float]:
    """For each model, the squared error of its outputs over the square of the reference's.

    Outputs that are not floats tell nothing. Of several the relative errors are averaged; without
    any the errors are 0.
    """
    names = [
        value.name
        for value in reference.graph.outputs
        if value.name and value.producer() is not None and value.dtype in (None, ir.DataType.FLOAT)
    ]
    if not names:
        return [0.0] * len(models)
    runs = [next(iter(Replay(each, [names], batches, most=0))) for each in (reference, *models)]
    power = np.zeros(len(names))
    errors = np.zeros((len(models), len(names)))
    for truth, *found in zip(*runs, strict=True):
        for at, name in enumerate(names):
            wanted = np.asarray(truth[name], np.float64)
            power[at] += np.square(wanted).sum()
            for number, each in enumerate(found):
                errors[number, at] += np.square(each[name] - wanted).sum()
    relative = errors / np.maximum(power, np.finfo(np.float64).tiny)
    return [float(error) for error in relative.mean(axis=1)]
