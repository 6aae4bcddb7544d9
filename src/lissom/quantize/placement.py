"""Which tensors of a graph are quantized, so that ONNX Runtime's integer kernels fuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lissom.graph.edit import constant_of, only_consumer
from lissom.graph.weights import is_float_constant, is_kept_out, linear_weight

# Operators that only move values: their output has the scale of their input, so they are exact.
MOVES = frozenset({"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"})
# Operators with integer kernels of their own, quantized when all their inputs already are.
JOINS = frozenset({"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool"})


@dataclass
class Placement:
    """What to quantize, in graph order.

    Attributes:
        layers: Conv, Gemm and MatMul nodes that become integer.
        tensors: activations that get a QuantizeLinear and DequantizeLinear pair.
        same_as: tensors that take the parameters of another.
    """

    layers: list[ir.Node] = field(default_factory=list)
    tensors: dict[ir.Value, None] = field(default_factory=dict)
    same_as: dict[ir.Value, ir.Value] = field(default_factory=dict)


def place(graph: ir.Graph, keep_float: Sequence[str] = ()) -> Placement:
    """Choose the tensors to quantize.

    A convolution is integer only with quantized input and output, so one whose result the graph
    returns stays float, as all the graph's outputs do; a matrix product needs its input and may
    give floats, which is what the float operators around it in a transformer want. An addition,
    product, concatenation or pooling joins in when all it reads is quantized.
    """
    found = Placement()
    for node in graph:
        source = node.inputs[0] if node.inputs else None
        if source is None or node.domain or is_kept_out(node, keep_float):
            continue
        if _is_layer(node, keep_float):
            found.layers.append(node)
            found.tensors.setdefault(source)
            if _is_conv(node) or _feeds_integers(node, keep_float):
                found.tensors.setdefault(_result(node))
        elif node.op_type in MOVES and source in found.tensors:
            output = node.outputs[0]
            if not output.is_graph_output():
                found.tensors.setdefault(output)
                found.same_as[output] = source
        elif node.op_type in JOINS and all(value in found.tensors for value in node.inputs):
            output = _result(node)
            if not output.is_graph_output():
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


def _is_layer(node: ir.Node, keep_float: Sequence[str]) -> bool:
    """Whether a node becomes an integer kernel."""
    source = node.inputs[0] if node.inputs else None
    if source is None or source.is_initializer() or is_kept_out(node, keep_float):
        return False
    if _is_conv(node):
        return not _result(node).is_graph_output()
    layer = linear_weight(node)
    return layer is not None and (layer.bias is None or constant_of(layer.bias) is not None)


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
