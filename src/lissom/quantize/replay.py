"""Runs a graph a stretch at a time: each begins with the tensors that the one before it left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common as passes

from lissom.graph.capture import capture
from lissom.graph.inventory import bodies_of

Batch = Mapping[str, NDArray[Any]]
Tensors = dict[str, NDArray[Any]]

# Bytes of tensors that are kept from one stretch to the next. Where they would be more, the next
# stretch begins where this one did.
KEPT = 2**28


class Replay:
    """A graph over some batches, stretch by stretch.

    What stands behind a stretch may change before the next one runs.

    Args:
        model: the graph.
        stretches: the names of the tensors that are wanted of each, in order.
        batches: the inputs.
        most: bytes of tensors that are kept.
    """

    def __init__(
        self,
        model: ir.Model,
        stretches: Sequence[Sequence[str]],
        batches: Sequence[Batch],
        *,
        most: int = KEPT,
    ) -> None:
        self.model = model
        self.batches = batches
        self.most = most
        self._stretches = [list(dict.fromkeys(names)) for names in stretches]
        self._alive = _alive(model.graph, self._stretches)
        self._kept: list[Tensors] = [{} for _ in batches]

    def __iter__(self) -> Iterator[Iterator[Tensors]]:
        """For each stretch, the tensors that are wanted of it, by batch."""
        return (self._run(number) for number in range(len(self._stretches)))

    def _run(self, number: int) -> Iterator[Tensors]:
        wanted, alive = self._stretches[number], self._alive[number]
        feeds = [{**batch, **kept} for batch, kept in zip(self.batches, self._kept, strict=True)]
        given = self._kept[0] if self._kept else {}
        names = [name for name in dict.fromkeys([*wanted, *alive]) if name not in feeds[0]]
        found = capture(_part(self.model, given, names), names, feeds) if names else iter(feeds)
        left: list[Tensors] | None = []
        held = 0
        for feed, tensors in zip(feeds, found, strict=True):
            every = {**feed, **tensors}
            if left is not None:
                left.append({name: every[name] for name in alive})
                held += sum(array.nbytes for array in left[-1].values())
                left = left if held <= self.most else None
            yield {name: every[name] for name in wanted}
        if left is not None:
            self._kept = left


def depths(graph: ir.Graph, layers: set[ir.Node]) -> dict[ir.Value, int]:
    """How many of the layers stand before each value that is computed, on the longest way."""
    found: dict[ir.Value, int] = {}
    for node in graph:
        depth = max((found.get(value, 0) for value in _reads(node)), default=0)
        found.update(dict.fromkeys(node.outputs, depth + (node in layers)))
    return found


def _alive(graph: ir.Graph, stretches: Sequence[Sequence[str]]) -> list[list[str]]:
    """For each stretch, what it or one before computes and a later one reads."""
    order = list(graph)
    values = {value.name: value for node in order for value in node.outputs}
    # What depends on constants alone is computed anew.
    fed = set(graph.inputs)
    for node in order:
        if any(value in fed for value in _reads(node)):
            fed.update(node.outputs)
    first: dict[ir.Node, int] = {}
    for number, names in enumerate(stretches):
        waiting = [values[name] for name in names if name in values]
        while waiting:
            maker = waiting.pop().producer()
            if maker is not None and maker not in first:
                first[maker] = number
                waiting += _reads(maker)
    last: dict[ir.Value, int] = {}
    for node, number in first.items():
        for value in _reads(node):
            last[value] = max(last.get(value, 0), number)
    for number, names in enumerate(stretches):
        for name in names:
            if name in values:
                last[values[name]] = max(last.get(values[name], 0), number)
    computed = [
        (value, first[node])
        for node in order
        if node in first
        for value in node.outputs
        if value in fed and value in last
    ]
    return [
        [value.name or "" for value, made in computed if made <= number < last[value]]
        for number in range(len(stretches))
    ]


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, in its bodies too."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        for body in bodies_of(attribute):
            for inner in body:
                yield from _reads(inner)


def _part(model: ir.Model, given: Tensors, wanted: Sequence[str]) -> ir.Model:
    """A copy that computes nothing but what is wanted, from what is given."""
    part = model.clone()
    values = {value.name: value for node in part.graph for value in node.outputs}
    part.graph.outputs[:] = [values[name] for name in wanted if name in values]
    for name, array in given.items():
        old = values[name]
        new = ir.Value(
            name=name,
            shape=ir.Shape([None] * array.ndim),
            type=ir.TensorType(ir.DataType.from_numpy(np.asarray(array).dtype)),
        )
        old.name = None
        old.replace_all_uses_with(new)
        part.graph.inputs.append(new)
    passes.RemoveUnusedNodesPass()(part)
    used = [value for value in part.graph.inputs if value.uses()]
    part.graph.inputs[:] = used
    return part
