"""Which technique would take which stored tensor, and why the others stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lissom.graph.inventory import Stored
from lissom.graph.quantized import is_codes
from lissom.graph.weights import attribute, embeddings, linear_weights
from lissom.quantize.float16 import Float16, fits_float16
from lissom.quantize.placement import place

DYNAMIC, STATIC, PACKED, HALF = (
    "quantize.dynamic", "quantize.static", "quantize.weight_only", "quantize.float16",
)  # fmt: skip
NEEDS = {DYNAMIC: None, STATIC: "calibration data: a task", PACKED: None, HALF: None}
# What is smaller is a bias, a norm or a scale; a technique that took it would save nothing.
FEW = 1024
TABLES_ROWS = 16
COUNTS = frozenset(
    {ir.DataType.INT64, ir.DataType.INT32, ir.DataType.UINT64, ir.DataType.BOOL}
    | {ir.DataType.STRING, ir.DataType.UINT32, ir.DataType.INT16, ir.DataType.UINT16}
)
MULTIPLY = frozenset({"ConvTranspose", "Einsum", "GRU", "LSTM", "RNN"})


@dataclass(frozen=True)
class Chances:
    """What can be done, by a tensor's name.

    Attributes:
        by_name: the techniques that would take a tensor.
        reasons: why nothing below float16 takes a tensor.
        needs: for each technique, what it needs besides the model, or None.
    """

    by_name: dict[str, tuple[str, ...]]
    reasons: dict[str, str]
    needs: dict[str, str | None] = field(default_factory=lambda: dict(NEEDS))

    def techniques(self, name: str) -> tuple[str, ...]:
        """The techniques that would take the tensor of that name."""
        return self.by_name.get(name, ())

    def why_not(self, name: str) -> str | None:
        """Why none below float16 does, or None."""
        return self.reasons.get(name)


def chances_in(
    model: ir.Model, stored: Sequence[Stored], *, narrow: Collection[str] = ()
) -> Chances:
    """Ask each technique what it would take, without doing anything.

    Args:
        model: a graph without functions, its constants lifted to initializers.
        stored: what it stores.
        narrow: names of tensors that the file itself holds in 16 bits.
    """
    graph = model.graph
    layers = {layer.value for layer in linear_weights(graph)}
    tables = {node.inputs[0] for node in embeddings(graph, least_rows=TABLES_ROWS)}
    integer = set(place(graph).layers)
    static = {layer.value for layer in linear_weights(graph) if layer.node in integer}
    static |= {n.inputs[1] for n in integer if n.op_type == "Conv" and n.inputs[1] is not None}
    by_name: dict[str, tuple[str, ...]] = {}
    reasons: dict[str, str] = {}
    for each in stored:
        found = []
        if each.value in layers or each.value in tables:
            found += [DYNAMIC, PACKED]
        if each.value in static:
            found.append(STATIC)
        half = each.name not in narrow and not each.body and fits_float16(each.value, Float16())
        if not found:
            reasons[each.name] = _why_not(each)
        by_name[each.name] = tuple(t for t in NEEDS if t in found or (half and t == HALF))
    return Chances(by_name, reasons)


def type_name(dtype: ir.DataType) -> str:
    """A type as numpy calls it, where numpy has it: float32, int8, uint4."""
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(dtype.name, dtype.name.lower())


def _why_not(stored: Stored) -> str:
    """Why no technique below float16 takes a tensor."""
    tensor, node = stored.tensor, stored.reader
    if is_codes(stored):
        return f"quantized already, for {node.op_type}" if node else "quantized already"
    if tensor.dtype in COUNTS:
        return "integers, booleans or text: shapes, indices, lookups"
    if tensor.size < FEW and (len(tensor.shape) < 2 or node is None):
        return "small: biases, norms, scales"
    if stored.body:
        return f"in the body of {stored.body.partition(' ')[0]}, which lissom leaves alone"
    if tensor.dtype != ir.DataType.FLOAT:
        return f"{type_name(tensor.dtype)}: techniques take float32; export it so"
    if stored.value.is_graph_input():
        return "its caller may override it: it is an input of the graph too"
    if stored.value.is_graph_output():
        return "the graph returns it"
    if node is None:
        return "nothing reads it: it goes away"
    return _why_not_this_operator(node, stored)


def _why_not_this_operator(node: ir.Node, stored: Stored) -> str:
    kind = node.op_type
    if kind == "Conv" and stored.place == 1:
        if len(stored.tensor.shape) > 4:
            return "Conv over three dimensions has no integer kernel"
        if node.outputs[0].is_graph_output():
            return "Conv whose result the graph returns stays float"
        return "a small first Conv is faster in float"
    if kind == "MatMul":
        if stored.place == 0:
            return "MatMul with its constant first"
        return "MatMul by a stack of matrices, or by one that is computed"
    if kind == "Gemm" and stored.place == 1:
        plain = not attribute(node, "transA", 0) and attribute(node, "alpha", 1.0) == 1.0
        return "Gemm whose bias is computed" if plain else "Gemm with transA, alpha or beta"
    if kind == "Gather":
        return "Gather along another axis than the first, or of few rows"
    if kind in MULTIPLY:
        return f"{kind}: no integer kernel that lissom writes"
    if stored.tensor.size < FEW:
        return "small: biases, norms, scales"
    if len(stored.tensor.shape) < 2 or (kind == "Gemm" and stored.place == 2):
        return "vectors: biases, norms, scales"
    if node.domain:
        return f"{node.domain}.{kind}: an operator of its own that lissom leaves alone"
    return f"{kind} does not multiply matrices"
