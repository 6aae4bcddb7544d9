"""Which layers of a graph, lissom's or anyone's, would add wrongly in 16 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.weights import attribute
from lissom.targets.pairing import Layout, convolution_layout, exceeding, product_layout

# Operators on integers, and which input is the weight. ConvInteger and MatMulNBits add in 32 bits.
INTEGER_WEIGHTS = {
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "MatMulInteger": 1,
    "QGemm": 3,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QAttention": 1,
}
REAL_OPERATORS = ("Conv", "MatMul", "Gemm")
# Computed within the convolution that comes before.
ACTIVATIONS = ("Relu", "Clip")


@dataclass(frozen=True)
class Saturating:
    """A layer with int8 weights some pairs of which exceed the limit: how many of how many."""

    layer: str
    operator: str
    pairs: int
    of: int


def saturating(model: ir.Model) -> list[Saturating]:
    """The layers whose sums may be wrong where a machine adds pairs of products in 16 bits.

    Read from the codes of the weights: between QuantizeLinear and DequantizeLinear, in operators
    on integers, and in MatMulInteger. Weights that are computed while running are not looked at.
    """
    found = []
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        codes = _integer_weight(node)
        if codes is None:
            continue
        layout = _layout(node, codes)
        if not layout.paired:
            continue
        excess = exceeding(layout.rows(codes))
        if excess.any():
            name = node.name or node.outputs[0].name or node.op_type
            found.append(Saturating(name, node.op_type, int(excess.sum()), excess.size))
    return found


def _integer_weight(node: ir.Node) -> NDArray[Any] | None:
    """The signed codes by which a kernel multiplies quantized activations, or None."""
    if node.op_type in INTEGER_WEIGHTS:
        position = INTEGER_WEIGHTS[node.op_type]
        value = node.inputs[position] if position < len(node.inputs) else None
    elif node.op_type in REAL_OPERATORS and not node.domain and _runs_in_integers(node):
        producer = _dequantization(node.inputs[1])
        value = None if producer is None else producer.inputs[0]
    else:
        return None
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.INT8 or len(tensor.shape) < 2:
        return None
    return tensor.numpy()


def _runs_in_integers(node: ir.Node) -> bool:
    """Whether ONNX Runtime makes an integer kernel of an operator on real numbers.

    A product needs dequantized operands only, a convolution a quantized result too.
    """
    if _dequantization(node.inputs[0]) is None:
        return False
    if node.op_type != "Conv":
        return True
    readers = [use.node for use in node.outputs[0].uses()]
    if len(readers) == 1 and readers[0].op_type in ACTIVATIONS:
        readers = [use.node for use in readers[0].outputs[0].uses()]
    return bool(readers) and all(reader.op_type == "QuantizeLinear" for reader in readers)


def _dequantization(value: ir.Value | None) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _layout(node: ir.Node, codes: NDArray[Any]) -> Layout:
    if node.op_type in ("Conv", "QLinearConv"):
        return convolution_layout(np.shape(codes), int(attribute(node, "group", 1)))
    return product_layout(transposed=bool(attribute(node, "transB", 0)))
