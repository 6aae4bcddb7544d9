"""Find the weights of a graph: which nodes multiply by a constant, and how it lies in memory."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.errors import RequestError
from lissom.graph.edit import constant_of


@dataclass(frozen=True)
class LinearWeight:
    """A MatMul or Gemm whose second operand is a constant matrix.

    Attributes:
        node: the operator.
        value: the initializer it multiplies by.
        transposed: the initializer is stored `[outputs, inputs]` (Gemm with transB, or MatMul
            with a Transpose of the initializer).
        bias: Gemm's third operand, or None.
    """

    node: ir.Node
    value: ir.Value
    transposed: bool
    bias: ir.Value | None

    def matrix(self) -> NDArray[np.float32]:
        """The weight as `[inputs, outputs]`."""
        array = constant_of(self.value)
        assert array is not None
        return np.asarray(array.T if self.transposed else array, np.float32)


def is_float_constant(value: ir.Value | None, rank: int) -> bool:
    """Whether a value is a float32 initializer of that rank that a technique may replace.

    Not one that the caller can override, nor one that the graph returns and so must keep, nor an
    empty one.
    """
    return (
        value is not None
        and value.const_value is not None
        and value.is_initializer()
        and not value.is_graph_input()
        and not value.is_graph_output()
        and value.const_value.dtype == ir.DataType.FLOAT
        and len(value.const_value.shape) == rank
        and value.const_value.size > 0
    )


def linear_weight(node: ir.Node) -> LinearWeight | None:
    """The node as a linear layer, or None when it is not one whose form lissom rewrites."""
    if node.domain:
        return None
    if node.op_type == "MatMul":
        found = _matrix_behind(node.inputs[1])
        return None if found is None else LinearWeight(node, *found, bias=None)
    if node.op_type == "Gemm" and is_float_constant(node.inputs[1], 2):
        if attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0:
            return None
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None and attribute(node, "beta", 1.0) != 1.0:
            return None
        value = node.inputs[1]
        assert value is not None
        return LinearWeight(node, value, bool(attribute(node, "transB", 0)), bias)
    return None


def _matrix_behind(value: ir.Value | None) -> tuple[ir.Value, bool] | None:
    """The constant matrix a value is, and whether a Transpose stands between.

    A language model whose output layer shares the embedding table reads it so.
    """
    if is_float_constant(value, 2) and value is not None:
        return value, False
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or node.domain:
        return None
    order = node.attributes.get("perm")
    if order is not None and tuple(order.as_ints()) != (1, 0):
        return None
    stored = node.inputs[0]
    return (stored, True) if is_float_constant(stored, 2) and stored is not None else None


def linear_weights(graph: ir.Graph) -> Iterator[LinearWeight]:
    """Every linear layer of the main graph, in order."""
    for node in list(graph):
        found = linear_weight(node)
        if found is not None:
            yield found


def embeddings(graph: ir.Graph, *, least_rows: int = 16) -> Iterator[ir.Node]:
    """Every Gather along axis 0 of a float32 matrix with at least `least_rows` rows."""
    for node in list(graph):
        if (
            node.op_type == "Gather"
            and not node.domain
            and is_float_constant(node.inputs[0], 2)
            and attribute(node, "axis", 0) == 0
            and rows(node.inputs[0]) >= least_rows
        ):
            yield node


def rows(value: ir.Value | None) -> int:
    """First dimension of an initializer."""
    assert value is not None and value.const_value is not None
    return int(value.const_value.shape.numpy()[0])


def attribute(node: ir.Node, name: str, default: float | int) -> float | int:
    """A number among a node's attributes, or the operator's default."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def is_kept_out(node: ir.Node, patterns: Sequence[str]) -> bool:
    """Whether a node's name, or the name of a weight it reads, matches one of the globs."""
    return any(fnmatch.fnmatchcase(name, p) for name in names_of(node) for p in patterns)


def names_of(node: ir.Node) -> list[str]:
    """A node's name and the names of the weights it reads."""
    layer = linear_weight(node)
    weights = [
        value for value in node.inputs if value is not None and value.const_value is not None
    ]
    names = [node.name, *(value.name for value in weights)]
    names += [] if layer is None else [layer.value.name]
    return [name for name in names if name]


def refuse_idle_globs(patterns: Iterable[str], names: Collection[str]) -> None:
    """Refuse globs that match none of the names: what they should set apart would go unnoticed.

    Raises:
        RequestError: a glob matches nothing; the nearest names are offered.
    """
    for pattern in patterns:
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            continue
        near = difflib.get_close_matches(pattern.strip("*"), sorted(names), n=3, cutoff=0.4)
        offered = near or sorted(name for name in names if name)[:3]
        raise RequestError(
            f"the glob {pattern!r} matches no layer",
            fix="names here are like " + ", ".join(repr(name) for name in offered),
        )
