"""The integer weights and biases of one layer, behind DequantizeLinear nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.edit import Editor, constant_of
from lissom.graph.weights import attribute, linear_weight
from lissom.quantize.affine import Affine, bias_codes
from lissom.quantize.integer_weights import integer_weights
from lissom.quantize.weight_range import ExactRange
from lissom.targets.pairing import Layout, convolution_layout, product_layout

# Weights that are stored already, by the float weight, how a kernel reads it and the bytes of their
# scales.
Stored = dict[tuple[ir.Value, Layout, bytes], tuple[ir.Value, ...]]


def quantize_layer(
    editor: Editor,
    node: ir.Node,
    parameters: dict[ir.Value, Affine],
    span: ExactRange,
    stored: Stored,
) -> None:
    """Put int8 weights and an int32 bias behind DequantizeLinear nodes."""
    source, weight = node.inputs[0], node.inputs[1]
    assert source is not None
    assert weight is not None
    array, layout = _weight_and_layout(node)
    axis = layout.axis
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    values = _as_vector(constant_of(bias), array.shape[axis])
    least = None if values is None else _smallest_scales(values, parameters[source])
    codes, scales = integer_weights(array, layout, span, least=least)
    stem = weight.name or "weight"
    # A symmetric matrix has the same scales along both axes, and other codes; a depthwise kernel
    # has codes that a grouped convolution of the same weight may not have.
    key = (weight, layout, scales.tobytes())
    if key not in stored:
        stored[key] = _store(editor, codes, scales, stem)
    node.replace_input_with(1, _dequantized(editor, node, stored[key], stem, axis))
    if values is None or bias is None:
        return
    product = scales * parameters[source].scale
    integers = bias_codes(values, product)
    if integers is not None:
        name = bias.name or "bias"
        three = _store(editor, integers, product, name)
        node.replace_input_with(2, _dequantized(editor, node, three, name, 0))


def _weight_and_layout(node: ir.Node) -> tuple[NDArray[np.float32], Layout]:
    """The weight as the node reads it, and how its kernel does."""
    layer = linear_weight(node)
    if layer is None:
        kernel = constant_of(node.inputs[1])
        assert kernel is not None
        group = int(attribute(node, "group", 1))
        return np.asarray(kernel, np.float32), convolution_layout(kernel.shape, group)
    if layer.transposed and node.op_type == "Gemm":
        return layer.matrix().T, product_layout(transposed=True)
    return layer.matrix(), product_layout()


def _as_vector(bias: NDArray[Any] | None, channels: int) -> NDArray[np.float32] | None:
    """A bias as one number per channel, or None when it differs from row to row."""
    if bias is None or bias.size not in (1, channels):
        return None
    if bias.size == channels and bias.ndim and bias.shape[-1] != channels:
        return None
    return np.broadcast_to(np.asarray(bias, np.float32).reshape(-1), (channels,))


def _smallest_scales(bias: NDArray[np.float32], activation: Affine) -> NDArray[np.float32]:
    """The scales of a weight below which its bias would not fit int32 at the product of scales."""
    return (np.abs(bias.astype(np.float64)) / 2**29 / float(activation.scale)).astype(np.float32)


def _store(
    editor: Editor, codes: NDArray[Any], scales: NDArray[np.float32], stem: str
) -> tuple[ir.Value, ...]:
    """Codes, scales and zero points as initializers."""
    return (
        editor.constant(f"{stem}_quantized", codes),
        editor.constant(f"{stem}_scale", scales),
        editor.constant(f"{stem}_zero", np.zeros(scales.shape, codes.dtype)),
    )


def _dequantized(
    editor: Editor, node: ir.Node, stored: tuple[ir.Value, ...], stem: str, axis: int
) -> ir.Value:
    (result,) = editor.node(
        node, "DequantizeLinear", stored, stem=f"{stem}_dequantize", attributes={"axis": axis}
    )
    return result
