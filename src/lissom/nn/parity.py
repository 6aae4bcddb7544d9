"""How far an exported file is from the torch module it came from, on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from lissom.errors import ModelError

if TYPE_CHECKING:
    import torch

    from lissom.nn.wrappers import Flat

RUN_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
# Differences relative to the largest output: rounding stays below the first.
NOTED, REFUSED = 1e-3, 1e-1


@dataclass(frozen=True)
class Parity:
    """The largest difference of any output value, and relative to its output's largest value."""

    absolute: float
    relative: float


def parity(network: Flat, path: Path, inputs: Mapping[str, torch.Tensor]) -> Parity:
    """Run the module and the file on the same inputs and compare every output.

    Raises:
        ModelError: the file does not run, or an output is NaN or of another shape.
    """
    expected = [output.cpu().numpy() for output in network(*inputs.values())]
    feeds = {name: value.cpu().numpy() for name, value in inputs.items()}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        taken = {value.name for value in session.get_inputs()}
        actual = session.run(None, {name: v for name, v in feeds.items() if name in taken})
    except RUN_ERRORS as error:
        raise ModelError(
            f"ONNX Runtime {ort.__version__} cannot run the exported model: "
            f"{str(error).strip().splitlines()[0]}",
            where=f"inputs {_shapes(inputs)}",
            fix="check that the network does not compute with fixed sizes",
        ) from error
    differences = [difference(a, b) for a, b in zip(expected, actual, strict=True)]
    return Parity(
        max(each.absolute for each in differences), max(each.relative for each in differences)
    )


def difference(expected: np.ndarray, actual: np.ndarray) -> Parity:
    """Two arrays' largest difference; infinities that agree are no difference.

    Raises:
        ModelError: an array holds NaN, or the shapes differ.
    """
    if expected.shape != actual.shape:
        raise ModelError(
            f"the exported model gives shape {actual.shape} where torch gives {expected.shape}"
        )
    if expected.dtype.kind in "biu" or expected.size == 0:
        # Whole numbers come from comparisons, where one rounding flips one; count those.
        share = float(np.mean(expected != actual)) if expected.size else 0.0
        return Parity(share, share)
    expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    for array, side in ((expected, "the torch module"), (actual, "the exported model")):
        if np.isnan(array).any():
            raise ModelError(
                f"{side} gives NaN on the example inputs",
                fix="check the weights and the example inputs",
            )
    same = expected == actual
    gaps = np.abs(np.subtract(expected, actual, out=np.zeros_like(expected), where=~same))
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 1.0
    absolute = float(gaps.max())
    return Parity(absolute, absolute / max(scale, float(np.finfo(np.float32).tiny)))


def _shapes(inputs: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
