"""Weights stored as float16, computed in float32."""

from __future__ import annotations

import fnmatch

import numpy as np
import onnx_ir as ir
from pydantic import Field

from lissom.errors import ModelError
from lissom.graph.edit import Editor, tidy
from lissom.graph.weights import is_float_constant
from lissom.technique import Config, Context, technique

# Their float inputs are scales, small already and worth their digits.
QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "MatMulNBits", "GatherBlockQuantized"})


class Float16(Config):
    """Settings of float16 storage.

    Attributes:
        least_elements: smaller tensors stay float32; they save nothing.
        keep_float: globs of names of weights, or of the nodes that read them, that stay as they
            are.
    """

    least_elements: int = Field(default=1024, ge=1)
    keep_float: tuple[str, ...] = ()


@technique(
    "quantize.float16",
    config=Float16,
    needs=["float weights"],
    leaves=["float16 weights"],
    destroys=["float weights"],
)
def float16(model: ir.Model, config: Float16, context: Context) -> ir.Model:
    """Store weights as float16 (IEEE 754 binary16); the runtime widens them when it loads.

    CPUs of today have few float16 kernels, so arithmetic stays float32: the file halves, the
    speed does not change. A tensor with a value beyond 65504 stays float32, and so does one whose
    values are all below 6.1e-5, where float16 has fewer digits; so do scales of quantized layers.

    Raises:
        ModelError: the graph has no float32 weight of that size.
    """
    graph = model.graph
    weights = [value for value in graph.initializers.values() if fits_float16(value, config)]
    first = next(iter(graph), None)
    if not weights or first is None:
        raise ModelError(
            f"nothing to quantize: no float32 weight has {config.least_elements} elements or more",
            where="quantize.float16",
            fix="lower least_elements, or leave this model as it is",
        )
    editor = Editor(model)
    for value in context.track(weights, "store as float16", len(weights)):
        assert value.const_value is not None
        narrow = np.asarray(value.const_value.numpy()).astype(np.float16)
        constant = editor.constant(f"{value.name}_float16", narrow)
        (wide,) = editor.node(
            first,
            "Cast",
            [constant],
            stem=f"{value.name}_float32",
            attributes={"to": ir.DataType.FLOAT.value},
        )
        value.replace_all_uses_with(wide)
        graph.initializers.pop(value.name or "")
    tidy(model)
    return model


def fits_float16(value: ir.Value, config: Float16) -> bool:
    """Whether a weight is large enough to be worth it and keeps its digits in float16."""
    tensor = value.const_value
    if tensor is None or not is_float_constant(value, len(tensor.shape)):
        return False
    if tensor.size < config.least_elements:
        return False
    if any(use.node.op_type in QUANTIZED for use in value.uses()):
        return False
    names = [value.name or "", *(use.node.name or "" for use in value.uses())]
    if any(fnmatch.fnmatchcase(name, glob) for name in names for glob in config.keep_float):
        return False
    half = np.finfo(np.float16)
    largest = np.abs(tensor.numpy()).max()
    return bool(largest == 0.0 or half.tiny <= largest <= half.max)
