"""Bring a file to the form that techniques take: verified against the file by running both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir

from lissom.arrays import Array, Batch
from lissom.errors import ModelError
from lissom.graph.opset import EXPORT, OLDEST_OPSET, convert_opset, is_old, opset_of
from lissom.graph.overridable import make_constant, overridable_weights
from lissom.graph.widen import holds_halves, widen
from lissom.onnx_file import outputs_of, read_onnx, write_onnx
from lissom.sessions import run_once, tensors

# Outputs may differ by this share of the largest value: the rounding of another order of sums, and
# that of 16 bits, of which every operator of the file adds some.
SAME, SAME_IN_HALVES = 1e-3, 5e-2


def needs_converting(model: ir.Model) -> bool:
    """Whether techniques would not take the graph as it is."""
    return is_old(model) or bool(overridable_weights(model)) or holds_halves(model)


def convert(path: Path, made: Path, feeds: Callable[[], Batch]) -> tuple[str, ...]:
    """Write the model of `path` to `made` in operator set 13 or newer, in float32, with constants.

    Args:
        path: the file as it came.
        made: what is written.
        feeds: makes the inputs that both files are run on.

    Returns:
        What the user should know of it, in sentences.

    Raises:
        ModelError: it cannot be converted, or what was made computes something else.
    """
    model = read_onnx(path, check_weights=False)
    notes: list[str] = []
    opset, halves = opset_of(model), holds_halves(model)
    if is_old(model):
        model = convert_opset(path)
        notes.append(f"converted from operator set {opset} to {OLDEST_OPSET}")
    if overridable_weights(model):
        make_constant(model)
        notes.append("given constants for the weights that it lists among its inputs")
    if halves:
        model = widen(model)
        notes.append("widened from 16-bit floats to float32, which is what the techniques take")
    write_onnx(model, made)
    fix = "export it in float32 from the original weights" if halves else EXPORT
    distance = _distance(path, made, feeds(), fix)
    limit = SAME_IN_HALVES if halves else SAME
    if not distance <= limit:
        raise ModelError(
            f"{path.name} cannot be {' and '.join(notes)}: outputs then differ by {distance:.1%} "
            "of the largest value",
            where=str(path),
            fix=fix,
        )
    how = "to the last bit" if distance == 0 else f"within {distance:.1g} of the largest value"
    done = " and ".join(notes)
    return (f"The file was {done}. Outputs agree {how}; everything is compared with the file.",)


def _distance(path: Path, made: Path, feeds: Batch, fix: str) -> float:
    """The largest difference of two files' outputs over the largest value of that output."""
    names = [spec.name for spec in outputs_of(path)]
    before = tensors(names, run_once(path, feeds))
    try:
        after = tensors(names, run_once(made, feeds))
    except ModelError as error:
        raise ModelError(
            f"{path.name} does not run any more once it is converted: {error.what}",
            where=str(path),
            fix=fix,
        ) from None
    if before.keys() != after.keys():
        return float("inf")
    return max((_relative(before[name], after[name]) for name in before), default=0.0)


def _relative(before: Array, after: Array) -> float:
    if before.shape != after.shape or before.dtype != after.dtype:
        return float("inf")
    if before.dtype.kind != "f":
        # Two classes as likely as each other may change places in a few samples.
        return float(np.mean(before != after)) if before.size else 0.0
    one, other = before.astype(np.float64), after.astype(np.float64)
    # What overflowed in 16 bits and does not in float32 is no fault of the conversion.
    finite = np.isfinite(one) & np.isfinite(other)
    if not finite.any():
        return 0.0
    largest = float(np.abs(one[finite]).max())
    return float(np.abs(one - other)[finite].max()) / (largest or 1.0)
