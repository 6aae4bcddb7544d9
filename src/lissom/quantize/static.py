"""Static INT8: ranges of activations measured beforehand, Q/DQ pairs where kernels fuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import onnx_ir as ir
from pydantic import Field

from lissom.errors import ModelError, RequestError
from lissom.graph.bias_scales import write_products
from lissom.graph.edit import Editor, constant_of, only_consumer, tidy
from lissom.graph.opset import with_four_bits
from lissom.graph.weights import is_kept_out, linear_weight, names_of, refuse_idle_globs
from lissom.quantize.affine import Affine
from lissom.quantize.calibrate import Calibration, calibrate
from lissom.quantize.existing import existing_affine
from lissom.quantize.fusible import pad_codes, write_fusible
from lissom.quantize.integer_layer import Stored, quantize_layer
from lissom.quantize.islands import shield
from lissom.quantize.learned import Layers, drawn, expect, learn
from lissom.quantize.output_error import output_errors
from lissom.quantize.placement import Placement, is_absorbed, place
from lissom.quantize.replay import Batch
from lissom.quantize.traced import traced
from lissom.quantize.weight_range import WeightBits, WeightGrid, WeightRange, range_for
from lissom.technique import Context, technique

# Layers that are named where there are many.
NAMED = 3


class Static(Calibration):
    """Settings of static quantization, besides those of its calibration.

    Attributes:
        weight_bits: width of a weight in the file. Kernels compute with int8 whatever it is, as
            fast.
        layer_bits: other widths for some layers, by a glob of node or weight names; the last that
            matches a layer counts.
        weight_range: how wide the int8 codes may be; "auto" is the widest that the target
            computes exactly. Codes of fewer bits are exact everywhere.
        rounding: "nearest" rounds every weight by itself, to scales of least squared error;
            "learned" chooses codes, scales and biases together so that each layer gives on the
            calibration data what it gave in float, errors of the layers before it included.
        bias_correction: moves biases so that the mean of each channel stays what it was.
            "analytic": by what rounding the layer's weights shifts it, given what the layer reads
            in the float network. "empirical": by what it is off in the network quantized up to
            there. Learned rounding does this by itself, whatever is set.
        keep_float: globs of node or weight names that stay as they are.
    """

    weight_bits: WeightBits = 8
    layer_bits: dict[str, WeightBits] = Field(default_factory=dict)
    weight_range: WeightRange = "auto"
    rounding: Literal["nearest", "learned"] = "nearest"
    bias_correction: Literal["none", "empirical", "analytic"] = "none"
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
    them into integer kernels. The calibration data are read once, a batch at a time; learned
    rounding and bias correction read them once more and keep some in memory.

    Raises:
        ModelError: the graph has no layer of this kind, or cannot have weights of four bits.
        RequestError: there are no calibration data.
    """
    names = {name for node in model.graph for name in names_of(node)}
    refuse_idle_globs((*config.keep_float, *config.layer_bits), names)
    if 4 in (config.weight_bits, *config.layer_bits.values()):
        model = with_four_bits(model)
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
    followed = traced(placement.layers)
    plain = config.rounding == "nearest" and config.bias_correction == "none"
    reference = None if plain else model.clone()
    batches = context.track(context.calibration, "calibrate")
    parameters = calibrate(model, placement, config, batches)
    parameters = _without_activations(editor, parameters, placement)
    span = range_for(config.weight_range, context)
    bits = widths(placement.layers, config)
    weights: Stored = {}
    layers = []
    for each in context.track(followed, "quantize weights"):
        grid = WeightGrid(span, bits[each.node])
        layers.append((quantize_layer(editor, each.node, parameters, grid, weights), each))
    for value, affine in parameters.items():
        _insert_pair(editor, value, affine, placement)
    pad_codes(editor)
    shield(editor, set(placement.layers))
    tidy(model)
    if reference is not None:
        model = _learned(model, reference, layers, config, context)
    write_products(model)
    return model


def _learned(
    model: ir.Model,
    reference: ir.Model,
    layers: Layers,
    config: Static,
    context: Context,
) -> ir.Model:
    """The model with codes and biases chosen again, as the settings say, if that is nearer.

    What is best for every layer need not be for the network: means that single samples far out
    have moved, corrected for all, for example. So it is judged at the output, on batches that
    nothing was learned from where there are enough.
    """
    assert context.calibration is not None
    seed, track = context.seed, context.track
    data, judged = apart(drawn(context.calibration, seed))
    before = model.clone()
    rounding = config.rounding == "learned"
    if rounding or config.bias_correction == "empirical":
        done = "have learned codes" if rounding else "have a corrected bias"
        left = learn(model, reference, layers, data, rounding=rounding, seed=seed, track=track)
    else:
        done = "have a corrected bias"
        left = expect(Editor(model), reference, layers, data, seed=seed, track=track)
    tidy(model)
    one, other = output_errors(reference, [before, model], judged)
    if one < other:
        kept = "codes" if rounding else "biases"
        context.note(
            f"{kept} were left as they were: the error at the output was {other:.2g} of the "
            f"signal afterwards, {one:.2g} before"
        )
        return before
    if left:
        context.note(_told(left, len(layers), done))
    return model


def widths(layers: Iterable[ir.Node], config: Static) -> dict[ir.Node, WeightBits]:
    """Bits of each layer's weight; layers of one weight have the widest that one of them has."""
    found: dict[ir.Node, WeightBits] = {}
    widest: dict[ir.Value, WeightBits] = {}
    for node in layers:
        bits = config.weight_bits
        for glob, width in config.layer_bits.items():
            bits = width if is_kept_out(node, (glob,)) else bits
        weight = _stored(node)
        widest[weight] = max(bits, widest.get(weight, bits))
        found[node] = bits
    return {node: widest[_stored(node)] for node in found}


def _stored(node: ir.Node) -> ir.Value:
    """The initializer that is a layer's weight."""
    layer = linear_weight(node)
    weight = node.inputs[1] if layer is None else layer.value
    assert weight is not None
    return weight


def apart(batches: list[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Batches to learn from, and every fourth to judge by; of fewer than four all are both."""
    judged = batches[3::4]
    if not judged:
        return batches, batches
    kept = {id(batch) for batch in judged}
    return [batch for batch in batches if id(batch) not in kept], judged


def _told(left: Mapping[str, str], count: int, done: str) -> str:
    """Which layers were left as they are, and why, the commonest reason first."""
    reasons: dict[str, list[str]] = {}
    for layer, why in left.items():
        reasons.setdefault(why, []).append(layer)
    parts = []
    for why, names in sorted(reasons.items(), key=lambda each: -len(each[1])):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        parts.append(f"{', '.join(names[:NAMED])}{more}: {why}")
    return f"{count - len(left)} of {count} layers {done}; not {'; '.join(parts)}"


def _without_activations(
    editor: Editor, parameters: dict[ir.Value, Affine], placement: Placement
) -> dict[ir.Value, Affine]:
    """Drop every Relu and Clip that the saturation of the codes does anyway.

    ONNX Runtime does so itself for Relu but not for Clip, whose convolution then stays float.
    """
    kept: dict[ir.Value, Affine] = {}
    for value, affine in parameters.items():
        node = value.producer()
        # Who goes on in float would miss the activation.
        all_on_codes = len(placement.takes(value)) == len(value.uses())
        if (
            node is not None
            and all_on_codes
            and _is_redundant(node, affine)
            and node.inputs[0] is not None
        ):
            layer_output = node.inputs[0]
            editor.replace(node, layer_output)
            value = layer_output
        kept[value] = affine
    return kept


def _is_redundant(node: ir.Node, affine: Affine) -> bool:
    """Whether codes from `affine` saturate where a Relu or Clip does."""
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
