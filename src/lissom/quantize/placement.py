"""Which tensors of a graph are quantized, so that ONNX Runtime's integer kernels fuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from lissom.graph.edit import constant_of, only_consumer
from lissom.graph.weights import attribute, is_float_constant, is_kept_out, linear_weight
from lissom.quantize.existing import is_read_as_codes
from lissom.quantize.fusible import pads_with_zero

# Operators that only move values: their output has the scale of their input, so they are exact.
MOVES = frozenset(
    {
        "DepthToSpace", "Flatten", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "SpaceToDepth",
        "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
# Operators with integer kernels of their own, quantized when all their inputs already are.
# Softmax has one too, which is slower than the float one.
JOINS = frozenset(
    {"Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"}
)

# The largest first convolution of a network that is faster in float.
MOST_FILTERS = 32
MOST_INPUTS = 27


class Use(Protocol):
    """One place where a node reads a value."""

    @property
    def node(self) -> ir.Node: ...

    @property
    def idx(self) -> int: ...


@dataclass
class Placement:
    """What to quantize, in graph order.

    Attributes:
        layers: Conv, Gemm and MatMul nodes that become integer.
        tensors: activations that get a QuantizeLinear and DequantizeLinear pair.
        same_as: tensors that take the parameters of another.
        on_codes: all nodes that read codes: the layers, and what joins in or only moves values.
    """

    layers: list[ir.Node] = field(default_factory=list)
    tensors: dict[ir.Value, None] = field(default_factory=dict)
    same_as: dict[ir.Value, ir.Value] = field(default_factory=dict)
    on_codes: dict[ir.Node, None] = field(default_factory=dict)

    def takes(self, value: ir.Value) -> tuple[Use, ...]:
        """Who reads a placed tensor as codes.

        Everyone, where codes are all that the kernel before it gives; where floats are there
        anyway, only who computes with codes: the residual sum of a transformer goes on in float.
        """
        uses = tuple(value.uses())
        maker = value.producer()
        if maker is not None and is_absorbed(maker) and maker.inputs[0] is not None:
            maker = maker.inputs[0].producer() or maker
        if maker in self.on_codes:
            return uses
        return tuple(use for use in uses if use.node in self.on_codes)


def place(graph: ir.Graph, keep_float: Sequence[str] = ()) -> Placement:
    """Choose the tensors to quantize.

    A convolution is integer only with quantized input and output, so one whose result the graph
    returns stays float, as all the graph's outputs do; a matrix product needs its input and may
    give floats, which is what the float operators around it in a transformer want. An addition,
    product, concatenation or pooling joins in when all it reads is quantized. What the graph
    quantizes already keeps its own scale and zero point.
    """
    found = Placement()
    for node in graph:
        source = node.inputs[0] if node.inputs else None
        if source is None or node.domain or is_kept_out(node, keep_float):
            continue
        if _is_layer(node, keep_float):
            found.layers.append(node)
            found.on_codes[node] = None
            found.tensors.setdefault(source)
            result = _result(node)
            pays = _is_conv(node) or _feeds_integers(node, keep_float)
            if pays and not is_read_as_codes(result):
                found.tensors.setdefault(result)
        elif _only_moves(node) and source in found.tensors:
            found.on_codes[node] = None
            for output in node.outputs:
                if is_read_as_codes(output):
                    continue
                found.tensors.setdefault(output)
                found.same_as[output] = source
        elif node.op_type in JOINS and all(value in found.tensors for value in node.inputs):
            output = _result(node)
            if not output.is_graph_output() and not is_read_as_codes(output):
                found.on_codes[node] = None
                found.tensors.setdefault(output)
    return found


def is_absorbed(node: ir.Node) -> bool:
    """Whether a node is a Relu, or a Clip from zero, as integer kernels end with."""
    if node.domain:
        return False
    if node.op_type == "Relu":
        return True
    if node.op_type != "Clip" or len(node.inputs) < 2:
        return False
    low = constant_of(node.inputs[1])
    return low is not None and float(low) == 0.0


def _only_moves(node: ir.Node) -> bool:
    """Whether a node runs over codes; one with a result that the graph returns stays float."""
    if node.op_type not in MOVES or any(value.is_graph_output() for value in node.outputs):
        return False
    if node.op_type == "Resize":
        return node.attributes.get_string("mode", "nearest") == "nearest"
    if node.op_type == "Pad":
        return pads_with_zero(node)
    # The indices that MaxPool may give are no codes.
    return node.op_type != "MaxPool" or len(node.outputs) == 1


def _is_layer(node: ir.Node, keep_float: Sequence[str]) -> bool:
    """Whether a node becomes an integer kernel."""
    source = node.inputs[0] if node.inputs else None
    if source is None or source.is_initializer() or is_kept_out(node, keep_float):
        return False
    if _is_conv(node):
        return not _result(node).is_graph_output() and not _is_small_stem(node)
    layer = linear_weight(node)
    return layer is not None and (layer.bias is None or constant_of(layer.bias) is not None)


def _is_small_stem(node: ir.Node) -> bool:
    """Whether a convolution reads the image itself and does little with each window of it.

    Gathering windows of three channels costs the integer kernel more than multiplying them: with
    3 x 3 windows and up to 32 filters the float kernel took 0.6 of the time, with 64 filters or
    7 x 7 windows up to 1.4 of it. Measured with VNNI; without it integer kernels gain less over
    float ones, so what is faster in float there is faster in float on AVX2 too.
    """
    source, weight = node.inputs[0], node.inputs[1]
    assert weight is not None and weight.const_value is not None
    filters, *window = weight.const_value.shape.numpy()
    return (
        source is not None
        and source.is_graph_input()
        and len(window) == 3
        and window[0] in (1, 3)
        and attribute(node, "group", 1) == 1
        and filters <= MOST_FILTERS
        and math.prod(window) <= MOST_INPUTS
    )


def _is_conv(node: ir.Node) -> bool:
    if node.op_type != "Conv" or node.domain:
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return any(is_float_constant(node.inputs[1], rank) for rank in (3, 4)) and (
        bias is None or is_float_constant(bias, 1)
    )


def _result(node: ir.Node) -> ir.Value:
    """What a node gives, behind the ReLU or Clip that its kernel absorbs."""
    output = node.outputs[0]
    activation = only_consumer(output)
    if activation is not None and is_absorbed(activation):
        return activation.outputs[0]
    return output


def _feeds_integers(node: ir.Node, keep_float: Sequence[str]) -> bool:
    """Whether integer layers, and nothing else, read what a matrix product gives."""
    output = _result(node)
    uses = output.uses()
    return (
        bool(uses)
        and not output.is_graph_output()
        and all(use.idx == 0 and _is_layer(use.node, keep_float) for use in uses)
    )
