"""Static INT8: ranges of activations measured beforehand, Q/DQ pairs where kernels fuse."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lissom.errors import ModelError, RequestError
from lissom.graph.edit import Editor, constant_of, only_consumer, tidy
from lissom.graph.weights import names_of, refuse_idle_globs
from lissom.quantize.affine import Affine
from lissom.quantize.calibrate import Calibration, calibrate
from lissom.quantize.existing import existing_affine
from lissom.quantize.fusible import pad_codes, write_fusible
from lissom.quantize.integer_layer import Stored, quantize_layer
from lissom.quantize.islands import shield
from lissom.quantize.placement import Placement, is_absorbed, place
from lissom.quantize.weight_range import WeightRange, range_for
from lissom.technique import Context, technique


class Static(Calibration):
    """Settings of static quantization, besides those of its calibration.

    Attributes:
        weight_range: how wide the int8 codes may be; "auto" is the widest that the target
            computes exactly.
        keep_float: globs of node or weight names that stay as they are.
    """

    weight_range: WeightRange = "auto"
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

    Weights are int8 per output channel, activations uint8 or int8 per tensor (Jacob et al. 2018);
    QuantizeLinear and DequantizeLinear pairs stand where ONNX Runtime turns the operators between
    them into integer kernels. The calibration data are read once, a batch at a time.

    Raises:
        ModelError: the graph has no layer of this kind.
        RequestError: there are no calibration data.
    """
    refuse_idle_globs(config.keep_float, {n for node in model.graph for n in names_of(node)})
    editor = Editor(model)
    write_fusible(editor, config.keep_float)
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
    batches = context.track(context.calibration, "calibrate")
    parameters = _without_activations(editor, calibrate(model, placement, config, batches))
    span = range_for(config.weight_range, context)
    weights: Stored = {}
    for node in placement.layers:
        quantize_layer(editor, node, parameters, span, weights)
    for value, affine in parameters.items():
        _insert_pair(editor, value, affine, placement)
    pad_codes(editor)
    shield(editor, set(placement.layers))
    tidy(model)
    return model


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
    lowest = np.iinfo(affine.zero_point.dtype).min
    if affine.zero_point != lowest or not is_absorbed(node) or node.outputs[0].is_graph_output():
        return False
    if node.inputs[0] is None or only_consumer(node.inputs[0]) is not node:
        return False
    if node.op_type == "Relu" or len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    high = constant_of(node.inputs[2])
    return high is not None and float(affine.scale) * 255 <= float(high)


def _insert_pair(editor: Editor, value: ir.Value, affine: Affine, placement: Placement) -> None:
    """Let who computes with codes read a tensor through QuantizeLinear and DequantizeLinear.

    Where a kernel gives nothing but codes, readers in the body of an If or Loop too: a convolution
    fuses only when nothing reads its float result, and a Relu that became saturation would be
    missed there.
    """
    uses = placement.takes(value)
    first = next(iter(editor.graph), None)
    if not uses or first is None or existing_affine(value) is not None:
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
