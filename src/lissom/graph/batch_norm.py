"""Fold a batch norm into the weights of the layer before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.edit import Editor, constant_of, only_consumer
from lissom.graph.weights import attribute, is_float_constant

Array = NDArray[Any]


def fold_batch_norms(model: ir.Model) -> int:
    """Scale the weights of a Conv, ConvTranspose or Gemm by the batch norm that follows it.

    W' = W * gamma / sqrt(var + eps), b' = (b - mean) * gamma / sqrt(var + eps) + beta, per output
    channel (Jacob et al. 2018, section 3.2).

    Returns:
        How many batch norms went away.
    """
    editor = Editor(model)
    return sum(_fold(editor, norm) for norm in list(model.graph))


def _fold(editor: Editor, norm: ir.Node) -> bool:
    if norm.op_type != "BatchNormalization" or norm.domain or norm.inputs[0] is None:
        return False
    layer = norm.inputs[0].producer()
    if layer is None or only_consumer(norm.inputs[0]) is not norm:
        return False
    axis = _output_axis(layer)
    affine = _scale_and_shift(norm)
    if axis is None or affine is None:
        return False
    weight = constant_of(layer.inputs[1])
    given = layer.inputs[2] if len(layer.inputs) > 2 else None
    bias = np.zeros((), np.float32) if given is None else constant_of(given)
    if weight is None or bias is None:
        return False
    scale, shift = affine
    shape = [1] * weight.ndim
    shape[axis] = -1
    with np.errstate(all="ignore"):
        folded = (weight.astype(np.float64) * scale.reshape(shape)).astype(np.float32)
        moved = (bias.astype(np.float64) * scale + shift).astype(np.float32)
    if not (np.isfinite(folded).all() and np.isfinite(moved).all()):
        return False
    stem = norm.outputs[0].name
    layer.resize_inputs(3)
    layer.replace_input_with(1, editor.constant(f"{stem}_weight", folded))
    layer.replace_input_with(2, editor.constant(f"{stem}_bias", moved))
    editor.replace(norm, layer.outputs[0])
    return True


def _output_axis(layer: ir.Node) -> int | None:
    """Where a foldable layer's output channels lie in its weight; None when it is not foldable."""
    if layer.domain or len(layer.inputs) < 2 or layer.inputs[1] is None:
        return None
    tensor = layer.inputs[1].const_value
    rank = 0 if tensor is None else len(tensor.shape)
    if not is_float_constant(layer.inputs[1], rank):
        return None
    if layer.op_type == "Conv":
        return 0
    if layer.op_type == "ConvTranspose" and attribute(layer, "group", 1) == 1:
        return 1
    if layer.op_type == "Gemm":
        plain = attribute(layer, "alpha", 1.0) == 1.0 and attribute(layer, "beta", 1.0) == 1.0
        return (0 if attribute(layer, "transB", 0) else 1) if plain else None
    return None


def _scale_and_shift(norm: ir.Node) -> tuple[Array, Array] | None:
    """A batch norm as y = x * scale + shift, in float64; None when it learns or is not constant."""
    if attribute(norm, "training_mode", 0) or any(output.name for output in norm.outputs[1:]):
        return None
    parameters = [constant_of(value) for value in norm.inputs[1:5]]
    if any(parameter is None for parameter in parameters):
        return None
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    with np.errstate(all="ignore"):
        scale: Array = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
        return scale, beta - mean * scale
