"""Compute now what depends on constants alone, and stop where the file would grow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.bias_scales import products_in
from lissom.graph.bit_planes import planes_in
from lissom.graph.edit import Editor
from lissom.onnx_file import write_onnx
from lissom.sessions import SESSION_ERRORS, open_session, refusal

# Folding one of these would undo a quantization or freeze a random number.
KEEP = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Constant", "Dropout"}
    | {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial"}
)
# A weight stored in one of these and widened by a Cast is stored so on purpose.
NARROW = frozenset(
    {ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.INT8, ir.DataType.UINT8}
    | {ir.DataType.INT4, ir.DataType.UINT4}
    | {d for d in ir.DataType if d.name.startswith(("FLOAT8", "FLOAT4", "INT2", "UINT2"))}
)
# What ONNX Runtime hands to numpy and numpy to a file without loss.
PLAIN = frozenset(
    {"tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bool)"}
    | {f"tensor({sign}int{width})" for sign in ("", "u") for width in (8, 16, 32, 64)}
)
# An expanded constant may cost more on disk than the operators save.
LARGEST_GROWTH = 64 * 1024


def fold_constants(model: ir.Model) -> int:
    """Replace expressions of constants by their results, computed by ONNX Runtime.

    Results that would grow the file by more than 64 KiB stay expressions.

    Returns:
        How many results became constants.

    Raises:
        ModelError: the runtime refuses the constant part of the graph, or fails in it.
    """
    foldable = _foldable(model.graph)
    results = [v for node in foldable for v in node.outputs if _is_read_outside(v, foldable)]
    if not results:
        return 0
    arrays = _worth_their_bytes(_evaluate(model, foldable, results), foldable)
    editor = Editor(model)
    for value, array in arrays.items():
        constant = editor.constant(f"{value.name}_folded", array)
        value.replace_all_uses_with(constant)
    return len(arrays)


def _foldable(graph: ir.Graph) -> dict[ir.Node, None]:
    """Nodes of the main graph that depend on constants alone, in order.

    Not those that unpack weights or compute scales, which are stored so on purpose.
    """
    meant = {node for planes in planes_in(graph) for node in planes.nodes}
    meant.update(products_in(graph))
    known: set[ir.Value] = set()
    nodes: dict[ir.Node, None] = {}
    for node in graph:
        reads = [value for value in node.inputs if value is not None]
        if (
            reads
            and node.op_type not in KEEP
            and node not in meant
            and node.domain == ""
            and not _has_body(node)
            and not _widens_a_stored_weight(node)
            and all(value in known or _is_constant(value) for value in reads)
        ):
            nodes[node] = None
            known.update(node.outputs)
    return nodes


def _has_body(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())


def _widens_a_stored_weight(node: ir.Node) -> bool:
    if node.op_type != "Cast" or node.inputs[0] is None:
        return False
    return node.inputs[0].is_initializer() and node.inputs[0].dtype in NARROW


def _is_constant(value: ir.Value) -> bool:
    return value.is_initializer() and value.const_value is not None and not value.is_graph_input()


def _is_read_outside(value: ir.Value, nodes: dict[ir.Node, None]) -> bool:
    """Whether a node that stays reads the value; what the graph returns keeps its node."""
    if value.is_graph_output() or not value.name:
        return False
    return any(use.node not in nodes for use in value.uses())


def _worth_their_bytes(
    arrays: dict[ir.Value, NDArray[Any]], foldable: dict[ir.Node, None]
) -> dict[ir.Value, NDArray[Any]]:
    """Leave out results that are larger than the constants that go away for them.

    A constant goes away when nothing that stays reads it: no node outside, and no expression that
    was left out. Leaving one out may so cost another its place, hence the loop.
    """
    leaves = {value: _leaves(value) for value in arrays}
    chosen = dict(arrays)
    while True:
        kept = {leaf for value in arrays.keys() - chosen.keys() for leaf in leaves[value]}
        kept |= {
            leaf
            for value in chosen
            for leaf in leaves[value]
            if leaf.is_graph_output() or any(use.node not in foldable for use in leaf.uses())
        }
        growing = [
            value
            for value, array in chosen.items()
            if array.nbytes > LARGEST_GROWTH + _bytes(leaves[value] - kept)
        ]
        if not growing:
            return chosen
        for value in growing:
            del chosen[value]


def _leaves(value: ir.Value) -> set[ir.Value]:
    """The initializers that an expression of constants is made of."""
    found: set[ir.Value] = set()
    seen: set[ir.Value] = set()
    stack = [value]
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        producer = at.producer()
        if producer is None:
            found.add(at)
        else:
            stack += [read for read in producer.inputs if read is not None]
    return found


def _bytes(values: Iterable[ir.Value]) -> int:
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)


def _evaluate(
    model: ir.Model, nodes: dict[ir.Node, None], results: list[ir.Value]
) -> dict[ir.Value, NDArray[Any]]:
    """Run the constant part of a graph as a model of its own, with optimizations off.

    Results that numpy has no type for are left out.
    """
    part = _part(model, nodes, results)
    with tempfile.TemporaryDirectory(prefix="lissom-fold-") as folder:
        path = Path(folder) / "constants.onnx"
        write_onnx(part, path)
        session = open_session(path, optimize=False)
        plain = {out.name for out in session.get_outputs() if out.type in PLAIN}
        wanted = [value for value in results if value.name in plain]
        if not wanted:
            return {}
        try:
            found = session.run([value.name for value in wanted], {})
        except SESSION_ERRORS as error:
            raise refusal(error, "a constant expression") from None
    return {value: np.asarray(array) for value, array in zip(wanted, found, strict=True)}


def _part(model: ir.Model, nodes: dict[ir.Node, None], results: list[ir.Value]) -> ir.Model:
    clones: dict[ir.Value, ir.Value] = {}
    initializers = []
    for node in nodes:
        for value in node.inputs:
            if value is not None and value not in clones and _is_constant(value):
                clones[value] = _clone(value, value.const_value)
                initializers.append(clones[value])
        for value in node.outputs:
            clones[value] = _clone(value)
    copies = [
        ir.Node(
            node.domain,
            node.op_type,
            [None if value is None else clones[value] for value in node.inputs],
            attributes=list(node.attributes.values()),
            outputs=[clones[value] for value in node.outputs],
        )
        for node in nodes
    ]
    graph = ir.Graph(
        [],
        [clones[value] for value in results],
        nodes=copies,
        initializers=initializers,
        opset_imports=dict(model.graph.opset_imports),
        name="constants",
    )
    return ir.Model(graph, ir_version=model.ir_version)


def _clone(value: ir.Value, tensor: ir.TensorProtocol | None = None) -> ir.Value:
    return ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=tensor)
