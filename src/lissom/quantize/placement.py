"""Which tensors of a graph are quantized, so that ONNX Runtime's integer kernels fuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lissom.graph.edit import constant_of, only_consumer
from lissom.graph.weights import attribute, is_float_constant, is_kept_out, linear_weight

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

    A convolution is integer only with quantized input and output; a matrix product needs its
    input and may give floats, which is what the float operators around it in a transformer want.
    An addition, product, concatenation or pooling joins in when all it reads is quantized. The
    graph's outputs stay float.
    """
    found = Placement()
    for node in graph:
        if node.domain not in ("", "ai.onnx") or is_kept_out(node, keep_float):
            continue
        if _is_conv(node):
            _place_layer(found, node)
            _quantize_output(found, node)
        elif linear_weight(node) is not None:
            _place_layer(found, node)
            if _feeds_integers(node):
                _quantize_output(found, node)
        elif node.op_type in MOVES and node.inputs[0] in found.tensors:
            output, source = node.outputs[0], node.inputs[0]
            if not output.is_graph_output() and source is not None:
                found.tensors.setdefault(output)
                found.same_as[output] = source
        elif node.op_type in JOINS and all(value in found.tensors for value in node.inputs):
            _quantize_output(found, node)
    return found


def _is_conv(node: ir.Node) -> bool:
    if node.op_type != "Conv" or node.inputs[1] is None or node.inputs[1].const_value is None:
        return False
    rank = len(node.inputs[1].const_value.shape)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return (
        is_float_constant(node.inputs[1], rank)
        and rank in (3, 4)
        and (bias is None or is_float_constant(bias, 1))
    )


def _place_layer(found: Placement, node: ir.Node) -> None:
    source = node.inputs[0]
    assert source is not None
    found.layers.append(node)
    found.tensors.setdefault(source)


def _quantize_output(found: Placement, node: ir.Node) -> None:
    """Quantize what a node gives, behind the ReLU or Clip that its kernel absorbs."""
    output = node.outputs[0]
    activation = only_consumer(output)
    if activation is not None and is_absorbed(activation):
        output = activation.outputs[0]
    if not output.is_graph_output():
        found.tensors.setdefault(output)


def is_absorbed(node: ir.Node) -> bool:
    """Whether a node is a Relu, or a Clip from zero, as integer kernels end with."""
    if node.op_type == "Relu":
        return True
    if node.op_type != "Clip" or len(node.inputs) < 2:
        return False
    low = constant_of(node.inputs[1])
    return low is not None and float(low) == 0.0


def _feeds_integers(node: ir.Node) -> bool:
    """Whether a matrix product's output, behind its activation, is read by layers or joins only."""
    output = node.outputs[0]
    activation = only_consumer(output)
    if activation is not None and is_absorbed(activation):
        output = activation.outputs[0]
    readers = [use.node for use in output.uses()]
    return (
        bool(readers)
        and not output.is_graph_output()
        and all(_is_conv(reader) or linear_weight(reader) is not None for reader in readers)
        and attribute(node, "transA", 0) == 0
    )
