"""Change an ONNX graph: read constants, add constants and nodes under free names, tidy up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common as passes

MICROSOFT = "com.microsoft"


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The array of an initializer that nothing can override, or None.

    An initializer that is also a graph input is a default its caller may replace, so it is no
    constant.
    """
    if value is None or value.const_value is None:
        return None
    if not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value.numpy()


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value, beside its producer.

    None when there are several, when the graph returns the value, or when the reader stands in
    the body of an If or Loop.
    """
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    reader = uses[0].node
    return reader if reader.graph is value.graph else None


class Editor:
    """Adds to the main graph of one model; every name it gives is free and deterministic."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.graph = model.graph
        self._taken: set[str] = set()
        # A name in the body of an If or Loop may not stand for something else outside it.
        for graph in (self.graph, *self.graph.subgraphs()):
            self._taken.update(graph.initializers)
            self._taken.update(value.name for value in graph.inputs if value.name)
            for node in graph:
                self._taken.update(value.name for value in node.outputs if value.name)
                if node.name:
                    self._taken.add(node.name)

    def free_name(self, stem: str) -> str:
        """`stem`, or `stem_2`, `stem_3`... if it is taken; the name is taken from now on."""
        name, count = stem, 1
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name

    def constant(
        self, stem: str, array: NDArray[Any], dtype: ir.DataType | None = None
    ) -> ir.Value:
        """Add an initializer of the array's shape; a scalar stays a scalar."""
        name = self.free_name(stem)
        tensor = ir.tensor(np.asarray(array, order="C"), dtype=dtype, name=name)
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        return value

    def shared(self, name: str, array: NDArray[Any]) -> ir.Value:
        """The initializer of that name where it holds the same already, else a new one."""
        there = self.graph.initializers.get(name)
        known = constant_of(there)
        same = known is not None and known.dtype == array.dtype and np.array_equal(known, array)
        return there if there is not None and same else self.constant(name, array)

    def node(
        self,
        before: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *,
        stem: str,
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
        outputs: int = 1,
    ) -> tuple[ir.Value, ...]:
        """Add a node before another and return its outputs, named after `stem`."""
        if domain:
            self.graph.opset_imports.setdefault(domain, 1)
        name = self.free_name(stem)
        node = ir.node(
            op_type,
            inputs,
            attributes=attributes,
            domain=domain,
            num_outputs=outputs,
            name=name,
        )
        for index, value in enumerate(node.outputs):
            suffix = "_out" if outputs == 1 else f"_out{index}"
            value.name = self.free_name(name + suffix)
        self.graph.insert_before(before, node)
        return tuple(node.outputs)

    def replace(self, node: ir.Node, value: ir.Value) -> None:
        """Let `value` stand for a node's first output everywhere.

        A value that another node computes takes the output's name too; a graph input, an
        initializer or a returned value keeps its own.

        Raises:
            ValueError: the graph returns the output, and `value` must keep its name.
        """
        old = node.outputs[0]
        name, shape, dtype = old.name, old.shape, old.type
        has_own_name = value.producer() is None or value.is_graph_output()
        if has_own_name and old.is_graph_output():
            raise ValueError(f"{value.name!r} cannot be returned as {name!r}")
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        if has_own_name:
            return
        old.name = None
        value.name = name
        value.shape = shape or value.shape
        value.type = dtype or value.type


def tidy(model: ir.Model) -> None:
    """Remove what nothing reads: nodes, initializers and operator sets."""
    passes.RemoveUnusedNodesPass()(model)
    passes.RemoveUnusedOpsetsPass()(model)
    model.graph.sort()
