"""Which layers of a file, lissom's or anyone's, would add wrongly in 16 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.weights import attribute
from lissom.targets.optimized import optimized
from lissom.targets.pairing import Layout, convolution_layout, exceeding, product_layout

# Integer kernels that add in pairs, and which of their inputs are weights. ConvInteger and
# MatMulNBits add in 32 bits.
INTEGER_WEIGHTS = {
    "QLinearConv": (3,),
    "QLinearMatMul": (3,),
    "MatMulInteger": (1,),
    "QGemm": (3,),
    "MatMulIntegerToFloat": (1,),
    "DynamicQuantizeMatMul": (1,),
    "DynamicQuantizeLSTM": (1, 2),
    "QAttention": (1,),
}

# Layers that are named where there are many.
NAMED = 4


@dataclass(frozen=True)
class Saturating:
    """A layer with int8 weights some pairs of which exceed the limit: how many of how many.

    `operator` is the integer kernel it runs as.
    """

    layer: str
    operator: str
    pairs: int
    of: int


def where_not(layers: Sequence[Saturating]) -> str:
    """On which machines these layers would add wrongly, in words, the worst layers first."""
    worst = sorted(layers, key=lambda layer: -layer.pairs)
    names = ", ".join(layer.layer for layer in worst[:NAMED])
    more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
    count = "1 layer" if len(worst) == 1 else f"{len(worst)} layers"
    return f"{count} would saturate on an x86 CPU without VNNI: {names}{more}"


def saturating(path: Path | str) -> tuple[Saturating, ...]:
    """The layers whose sums may be wrong where a machine adds pairs of products in 16 bits.

    Read from the graph that ONNX Runtime makes of the file, because only there it shows which
    layers run in integers and with which codes: weights may be stored as floats that are quantized
    while loading, or be moved before. Weights that are computed while running are not looked at,
    and unsigned ones are added in 32 bits.

    Raises:
        ModelError: the file is no ONNX model, or the runtime refuses it.
        FolderError: there is no room for the optimized graph in the temporary folder.
    """
    with optimized(path) as file:
        return saturating_in(file)


def saturating_in(file: Path) -> tuple[Saturating, ...]:
    """The same of a graph that is optimized already."""
    graph = ir.load(file).graph
    layers = (_examined(node) for node in ir.traversal.RecursiveGraphIterator(graph))
    return tuple(layer for layer in layers if layer is not None)


def _examined(node: ir.Node) -> Saturating | None:
    """What a node has of pairs that exceed the limit, or None."""
    exceed = total = 0
    for codes in _integer_weights(node):
        layout = _layout(node, codes)
        if layout.paired:
            excess = exceeding(layout.rows(codes))
            exceed += int(excess.sum())
            total += excess.size
    if not exceed:
        return None
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    return Saturating(name or node.op_type, node.op_type, exceed, total)


def _integer_weights(node: ir.Node) -> Iterator[NDArray[Any]]:
    """The signed codes by which a kernel multiplies quantized activations."""
    for position in INTEGER_WEIGHTS.get(node.op_type, ()):
        value = node.inputs[position] if position < len(node.inputs) else None
        tensor = None if value is None else ir.convenience.get_const_tensor(value)
        if tensor is not None and tensor.dtype == ir.DataType.INT8 and len(tensor.shape) >= 2:
            yield tensor.numpy()


def _layout(node: ir.Node, codes: NDArray[Any]) -> Layout:
    if node.op_type == "QLinearConv":
        return convolution_layout(np.shape(codes), int(attribute(node, "group", 1)))
    return product_layout(transposed=bool(attribute(node, "transB", 0)))
