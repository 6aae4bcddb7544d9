"""Multiply-accumulates of one run, from the shapes that the tensors really have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from onnx_ir.passes.common import InlinePass

from lissom.arrays import Array
from lissom.graph.inventory import computed_at_load
from lissom.model import read_onnx
from lissom.sessions import SESSION_ERRORS, find_external_data, session_options

Shape = tuple[int, ...]
# For a node, the shape of input i, or of the output where i is OUTPUT.
ShapeOf = Callable[[int], Shape]
OUTPUT = -1

# What multiplies and accumulates without being in COUNTS makes the total unknown.
MULTIPLIES = re.compile(r"MatMul|Gemm|Conv|Attention|LSTM|GRU|RNN|Einsum|MoE|SSM|DFT|Bilinear")
PREFIX = "lissom_shape_of_"


def multiply_accumulates(path: Path, feeds: Mapping[str, Array]) -> int | None:
    """Multiply-accumulates of one run with `feeds`, the whole batch together.

    Counted are convolutions, matrix products, recurrences and attention, in float and in all of
    ONNX Runtime's quantized forms; element-wise work is not. The model is run once with Shape
    nodes beside the tensors that matter: static inference stops at operators it does not know.

    Returns:
        None when unknown: an operator that multiplies is not known to lissom or stands in a
        branch or loop, or the runtime does not run the model so.
    """
    counts = multiply_accumulates_by_node(path, feeds)
    return None if counts is None else sum(counts.values())


def multiply_accumulates_by_node(path: Path, feeds: Mapping[str, Array]) -> dict[str, int] | None:
    """The same for each node that multiplies, by the name of its first output."""
    model = read_onnx(path, check_weights=False)
    if model.functions:
        model = InlinePass()(model).model
    # What a runtime computes while it loads is no work of a run.
    once = computed_at_load(model.graph)
    nodes = [node for node in _multiplying(model) if node not in once]
    if any(_key(node) not in COUNTS or node.graph is not model.graph for node in nodes):
        return None
    names = [node.outputs[0].name or "" for node in nodes]
    shapes = _shapes(model, nodes, path, feeds)
    if shapes is None:
        return None
    counts: dict[str, int] = {}
    for name, node in zip(names, nodes, strict=True):
        count = _count(node, shapes)
        if count is None:
            return None
        counts[name] = count
    return counts


def _multiplying(model: ir.Model) -> Iterator[ir.Node]:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if _key(node) in COUNTS or MULTIPLIES.search(node.op_type):
            yield node


def _key(node: ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _count(node: ir.Node, shapes: Mapping[str, Shape]) -> int | None:
    def shape_of(place: int) -> Shape:
        value = node.outputs[0] if place == OUTPUT else _input(node, place)
        if value is None:
            return ()
        return shapes[value.name or ""]

    return COUNTS[_key(node)](node, shape_of)


def _input(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if place < len(node.inputs) else None


def _shapes(
    model: ir.Model, nodes: Sequence[ir.Node], path: Path, feeds: Mapping[str, Array]
) -> dict[str, Shape] | None:
    """The shapes of everything that goes into these nodes, and of their first outputs."""
    shapes: dict[str, Shape] = {}
    wanted: dict[str, ir.Value] = {}
    for value in (v for node in nodes for v in (*node.inputs, node.outputs[0]) if v is not None):
        name = value.name or ""
        if value.const_value is not None:
            shapes[name] = tuple(int(size) for size in value.const_value.shape.numpy())
        elif name:
            wanted[name] = value
    if not wanted:
        return shapes
    session = _probed(model, wanted.values(), path)
    if session is None:
        return None
    try:
        found = session.run(None, {s.name: feeds[s.name] for s in session.get_inputs()})
    except (*SESSION_ERRORS, KeyError):
        return None
    for name, array in zip(wanted, found, strict=True):
        shapes[name] = tuple(int(size) for size in np.asarray(array))
    return shapes


def _probed(model: ir.Model, values: Iterable[ir.Value], path: Path) -> ort.InferenceSession | None:
    """A session of the model whose outputs are the shapes of these values.

    What is serialised is less than the file: weights in external data stay where they are.
    """
    probes = [ir.node("Shape", [value], name=f"{PREFIX}{n}") for n, value in enumerate(values)]
    model.graph.extend(probes)
    for place, probe in enumerate(probes):
        probe.outputs[0].name = f"{PREFIX}{place}"
        probe.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        probe.outputs[0].shape = ir.Shape([None])
    model.graph.outputs[:] = [probe.outputs[0] for probe in probes]
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    find_external_data(options, path)
    data = ir.serde.serialize_model(model).SerializeToString()
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except SESSION_ERRORS:
        return None


def _flag(node: ir.Node, name: str) -> int:
    return node.attributes.get_int(name, 0)


def _product(shape: Shape) -> int:
    return math.prod(shape)


def _convolution(weight: int = 1) -> Callable[[ir.Node, ShapeOf], int]:
    """Each output element takes one filter: its elements over the output channels."""
    return lambda node, shape_of: _product(shape_of(OUTPUT)) * _product(shape_of(weight)[1:])


def _transposed(node: ir.Node, shape_of: ShapeOf) -> int:
    """Each input element goes through one filter, weight [in, out / groups, ...]."""
    return _product(shape_of(0)) * _product(shape_of(1)[1:])


def _matrix(node: ir.Node, shape_of: ShapeOf) -> int:
    """Each output element sums over the last axis of the first factor (transA: the one before)."""
    first = shape_of(0)
    return _product(shape_of(OUTPUT)) * (first[-2] if _flag(node, "transA") else first[-1])


def _recurrence(node: ir.Node, shape_of: ShapeOf) -> int:
    """Every step of every sequence goes through both weights [directions, gates, ...]."""
    steps = _product(shape_of(0)[:2])
    return steps * (_product(shape_of(1)) + _product(shape_of(2)))


def _attention(past: int) -> Callable[[ir.Node, ShapeOf], int | None]:
    """Scores and weighted sum: keys times the elements of query and of output."""

    def count(node: ir.Node, shape_of: ShapeOf) -> int | None:
        query, key = shape_of(0), shape_of(1)
        if len(query) not in (3, 4) or len(key) not in (3, 4):
            return None  # packed forms
        keys = key[-2] + (shape_of(past)[-2] if shape_of(past) else 0)
        return keys * (_product(query) + _product(shape_of(OUTPUT)))

    return count


def _projected_attention(node: ir.Node, shape_of: ShapeOf) -> int | None:
    """com.microsoft Attention: input [batch, length, width] through weights [width, 3 * out]."""
    # Past is input 4 of Attention and 8 of QAttention.
    if any(len(shape_of(place)) == 5 for place in (4, 8)):
        return None
    source = shape_of(0)
    projection = _product(source) * shape_of(1)[-1]
    return projection + 2 * source[1] * _product(shape_of(OUTPUT))


def _einsum(node: ir.Node, shape_of: ShapeOf) -> int | None:
    """The product of the sizes of all letters, for two factors."""
    terms = node.attributes.get_string("equation", "").replace(" ", "").split("->")[0].split(",")
    if len(terms) != 2 or any("." in term for term in terms):
        return None
    sizes = {
        letter: size
        for place, term in enumerate(terms)
        for letter, size in zip(term, shape_of(place), strict=True)
    }
    return _product(tuple(sizes.values()))


COUNTS: dict[str, Callable[[ir.Node, ShapeOf], int | None]] = {
    "Attention": _attention(past=4),
    "Conv": _convolution(),
    "ConvInteger": _convolution(),
    "ConvTranspose": _transposed,
    "Einsum": _einsum,
    "GRU": _recurrence,
    "Gemm": _matrix,
    "LSTM": _recurrence,
    "MatMul": _matrix,
    "MatMulInteger": _matrix,
    "QLinearConv": _convolution(weight=3),
    "QLinearMatMul": _matrix,
    "RNN": _recurrence,
    "com.microsoft.Attention": _projected_attention,
    "com.microsoft.DynamicQuantizeMatMul": _matrix,
    "com.microsoft.FusedConv": _convolution(),
    "com.microsoft.FusedGemm": _matrix,
    "com.microsoft.FusedMatMul": _matrix,
    "com.microsoft.MatMulBnb4": _matrix,
    "com.microsoft.MatMulInteger16": _matrix,
    "com.microsoft.MatMulIntegerToFloat": _matrix,
    "com.microsoft.MatMulNBits": _matrix,
    "com.microsoft.MultiHeadAttention": _attention(past=6),
    "com.microsoft.NhwcFusedConv": _convolution(),
    "com.microsoft.QAttention": _projected_attention,
    "com.microsoft.QGemm": _matrix,
    "com.microsoft.QLinearConv": _convolution(weight=3),
}
