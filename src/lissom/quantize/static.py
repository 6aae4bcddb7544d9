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
from lissom.quantize.affine import Affine, affine_of_range
from lissom.quantize.integer_layer import Stored, quantize_layer
from lissom.quantize.islands import shield
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
    destroys=["float weights"],
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
    measured = _calibrate(model, placement, config, context)
    parameters = _without_activations(editor, measured)
    bits = config.weight_bits or context.exact_weight_bits
    weights: Stored = {}
    for node in placement.layers:
        quantize_layer(editor, node, parameters, bits, weights)
    for value, affine in parameters.items():
        _insert_pair(editor, value, affine)
    shield(editor, set(placement.layers))
    tidy(model)
    return model


def _calibrate(
    model: ir.Model, placement: Placement, config: Static, context: Context
) -> dict[ir.Value, Affine]:
    """Scale and zero point of every placed tensor, in graph order."""
    batches = context.calibration
    assert batches is not None
    observers = {
        value.name or "": MinMax() if config.observer == "minmax" else Percentile(config.percent)
        for value in placement.tensors
        if value not in placement.same_as
    }
    for tensors in capture(model, list(observers), context.track(batches, "calibrate")):
        for name, array in tensors.items():
            observers[name].observe(_finite(array, name))
    found: dict[ir.Value, Affine] = {}
    for value in placement.tensors:
        source = placement.same_as.get(value)
        if source is not None:
            found[value] = found[source]
        else:
            found[value] = affine_of_range(*observers[value.name or ""].range())
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
    """Whether nothing but codes from `affine` is read of a Relu or Clip, and they say the same."""
    if affine.zero_point != 0 or not is_absorbed(node) or node.outputs[0].is_graph_output():
        return False
    if node.inputs[0] is None or only_consumer(node.inputs[0]) is not node:
        return False
    if node.op_type == "Relu" or len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    high = constant_of(node.inputs[2])
    return high is not None and float(affine.scale) * 255 <= float(high)


def _finite(array: NDArray[Any], name: str) -> NDArray[Any]:
    if not np.isfinite(array).all():
        raise ModelError(
            f"the tensor {name!r} becomes NaN or infinite on the calibration data",
            where="quantize.static",
            fix="look for broken samples, or keep the layer float with keep_float",
        )
    return array


def _insert_pair(editor: Editor, value: ir.Value, affine: Affine) -> None:
    """Let every reader of a tensor read it through QuantizeLinear and DequantizeLinear.

    Readers in the body of an If or Loop too: a convolution fuses only when nothing reads its float
    result, and a Relu that became saturation would be missed there.
    """
    uses = value.uses()
    first = next(iter(editor.graph), None)
    if not uses or first is None:
        return
    stem = value.name or "tensor"
    scale = editor.constant(f"{stem}_scale", np.asarray(affine.scale))
    zero_point = editor.constant(f"{stem}_zero", np.asarray(affine.zero_point))
    # Where they stand does not matter yet: `tidy` sorts the graph.
    (codes,) = editor.node(
        first, "QuantizeLinear", [value, scale, zero_point], stem=f"{stem}_quantize"
    )
    (reals,) = editor.node(
        first, "DequantizeLinear", [codes, scale, zero_point], stem=f"{stem}_dequantize"
    )
    for use in uses:
        use.node.replace_input_with(use.idx, reals)
