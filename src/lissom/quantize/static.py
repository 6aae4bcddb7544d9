"""Static INT8: ranges of activations measured beforehand, Q/DQ pairs where kernels fuse."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from lissom.errors import ModelError, RequestError
from lissom.graph.capture import capture
from lissom.graph.edit import Editor, constant_of, only_consumer, tidy
from lissom.graph.weights import LinearWeight, linear_weight
from lissom.quantize.affine import Affine, affine_of_range, bias_codes, symmetric_channels
from lissom.quantize.observers import MinMax, Percentile
from lissom.quantize.placement import Placement, is_absorbed, place
from lissom.technique import Config, Context, technique


class Static(Config):
    """Settings of static quantization.

    Attributes:
        observer: how the range of an activation is chosen from the calibration data.
        percent: share of the values inside the range when the observer is "percentile".
        weight_bits: 8 or 7; None takes the widest that the target computes exactly.
        keep_float: globs of node or weight names that stay as they are.
    """

    observer: Literal["minmax", "percentile"] = "minmax"
    percent: float = Field(default=99.99, gt=50.0, le=100.0)
    weight_bits: Literal[8, 7] | None = None
    keep_float: tuple[str, ...] = ()


@technique(
    "quantize.static",
    config=Static,
    needs=["calibration", "float weights"],
    leaves=["int8 weights", "int8 activations"],
)
def static(model: ir.Model, config: Static, context: Context) -> ir.Model:
    """Quantize weights and activations to INT8 with ranges measured on calibration data.

    Weights are int8 per output channel, activations uint8 per tensor (Jacob et al. 2018);
    QuantizeLinear and DequantizeLinear pairs stand where ONNX Runtime turns the operators between
    them into integer kernels. The calibration data are read once, a batch at a time.

    Raises:
        ModelError: the graph has no layer of this kind.
        RequestError: there are no calibration data.
    """
    placement = place(model.graph, config.keep_float)
    if not placement.layers:
        raise ModelError(
            "nothing to quantize: no Conv, MatMul or Gemm has a constant float32 weight",
            where="quantize.static",
            fix="`lissom techniques` lists the others",
        )
    if context.calibration is None:
        raise RequestError(
            "quantize.static needs calibration data to find the ranges of activations",
            where="the task",
            fix="give a task with calibration data, or use quantize.dynamic",
        )
    editor = Editor(model)
    parameters = _without_activations(
        editor, _calibrate(model, placement, config, context)
    )
    bits = config.weight_bits or context.exact_weight_bits
    for node in placement.layers:
        _quantize_weights(editor, node, parameters, bits)
    for value, affine in parameters.items():
        _insert_pair(editor, value, affine)
    tidy(model)
    return model


def _calibrate(
    model: ir.Model, placement: Placement, config: Static, context: Context
) -> dict[ir.Value, Affine]:
    """Scale and zero point of every placed tensor, in graph order."""
    batches = context.calibration
    assert batches is not None
    own = [value for value in placement.tensors if value not in placement.same_as]
    observers = {
        value.name or "": MinMax() if config.observer == "minmax" else Percentile(config.percent)
        for value in own
    }
    for tensors in capture(model, list(observers), context.track(batches, "calibrate")):
        for name, array in tensors.items():
            observers[name].observe(_finite(array, name))
    found: dict[ir.Value, Affine] = {}
    for value in placement.tensors:
        source = placement.same_as.get(value)
        low_high = observers[value.name or ""].range() if source is None else None
        found[value] = affine_of_range(*low_high) if low_high else found[source]  # type: ignore[index]
    return found


def _without_activations(
    editor: Editor, parameters: dict[ir.Value, Affine]
) -> dict[ir.Value, Affine]:
    """Drop every Relu and Clip that the saturation of the codes does anyway.

    ONNX Runtime does so itself for Relu but not for Clip, whose convolution then stays float.
    """
    kept: dict[ir.Value, Affine] = {}
    for value, affine in parameters.items():
        node = value.producer()
        if node is not None and _is_redundant(node, affine) and node.inputs[0] is not None:
            layer_output = node.inputs[0]
            editor.replace(node, layer_output)
            value = layer_output
        kept[value] = affine
    return kept


def _is_redundant(node: ir.Node, affine: Affine) -> bool:
    if affine.zero_point != 0 or not is_absorbed(node):
        return False
    if node.inputs[0] is None or only_consumer(node.inputs[0]) is not node:
        return False
    high = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if node.op_type == "Clip" and len(node.inputs) > 2 and node.inputs[2] is not None:
        return high is not None and float(affine.scale) * 255 <= float(high)
    return True


def _finite(array: NDArray[Any], name: str) -> NDArray[Any]:
    if not np.isfinite(array).all():
        raise ModelError(
            f"the tensor {name!r} becomes NaN or infinite on the calibration data",
            where="quantize.static",
            fix="look for broken samples, or keep the layer float with keep_float",
        )
    return array


def _quantize_weights(
    editor: Editor, node: ir.Node, parameters: dict[ir.Value, Affine], bits: int
) -> None:
    """Put int8 weights and an int32 bias behind DequantizeLinear nodes."""
    layer = linear_weight(node)
    weight, source = node.inputs[1], node.inputs[0]
    assert weight is not None and weight.const_value is not None and source is not None
    axis = _output_axis(layer)
    array = np.asarray(weight.const_value.numpy(), np.float32)
    codes, scales = symmetric_channels(array, axis, bits)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    values = constant_of(bias)
    if values is not None and values.ndim == 1 and values.shape == scales.shape:
        codes, scales = _with_room_for_bias(array, axis, codes, scales, values, parameters[source])
    stem = weight.name or "weight"
    node.replace_input_with(1, _dequantized(editor, node, codes, scales, stem, axis))
    if values is not None and values.ndim == 1 and values.shape == scales.shape:
        product = scales * parameters[source].scale
        integers = bias_codes(values.astype(np.float32), product)
        if integers is not None and bias is not None:
            name = bias.name or "bias"
            node.replace_input_with(2, _dequantized(editor, node, integers, product, name, 0))


def _output_axis(layer: LinearWeight | None) -> int:
    if layer is None:
        return 0
    return 0 if layer.transposed else 1


def _with_room_for_bias(
    array: NDArray[np.float32],
    axis: int,
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    bias: NDArray[Any],
    activation: Affine,
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Widen the scale of a channel whose bias would not fit int32 at the product of scales."""
    least = (np.abs(bias.astype(np.float64)) / 2**29 / float(activation.scale)).astype(np.float32)
    if not (least > scales).any():
        return codes, scales
    wider = np.maximum(scales, least)
    shape = [1] * array.ndim
    shape[axis] = -1
    limit = np.abs(codes).max(initial=1)
    widened = np.clip(np.rint(array / wider.reshape(shape)), -limit, limit)
    return widened.astype(np.int8), wider


def _dequantized(
    editor: Editor,
    node: ir.Node,
    codes: NDArray[Any],
    scales: NDArray[np.float32],
    stem: str,
    axis: int,
) -> ir.Value:
    integers = editor.constant(f"{stem}_quantized", codes)
    scale = editor.constant(f"{stem}_scale", scales)
    zero_point = editor.constant(f"{stem}_zero", np.zeros(scales.shape, codes.dtype))
    (result,) = editor.node(
        node,
        "DequantizeLinear",
        [integers, scale, zero_point],
        stem=f"{stem}_dequantize",
        attributes={"axis": axis},
    )
    return result


def _insert_pair(editor: Editor, value: ir.Value, affine: Affine) -> None:
    """Let every reader of a tensor read it through QuantizeLinear and DequantizeLinear."""
    uses = [use for use in value.uses() if use.node.graph is editor.graph]
    if not uses:
        return
    stem = value.name or "tensor"
    scale = editor.constant(f"{stem}_scale", np.asarray(affine.scale))
    zero_point = editor.constant(f"{stem}_zero", np.asarray(affine.zero_point))
    first = _first(editor.graph, [use.node for use in uses])
    (codes,) = editor.node(
        first, "QuantizeLinear", [value, scale, zero_point], stem=f"{stem}_quantize"
    )
    (reals,) = editor.node(
        first, "DequantizeLinear", [codes, scale, zero_point], stem=f"{stem}_dequantize"
    )
    for use in uses:
        use.node.replace_input_with(use.idx, reals)


def _first(graph: ir.Graph, nodes: list[ir.Node]) -> ir.Node:
    """The earliest of some nodes in the graph's order."""
    wanted = set(nodes)
    return next(node for node in graph if node in wanted)
