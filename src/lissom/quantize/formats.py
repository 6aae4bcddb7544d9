"""The layers of a float graph that can be stored in another format, and which formats apply."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from lissom.graph.edit import Editor
from lissom.graph.names import result_of
from lissom.graph.weights import embeddings, is_float_constant, linear_weight
from lissom.quantize.float16 import Float16, fits_float16
from lissom.quantize.fusible import write_fusible
from lissom.quantize.placement import place
from lissom.tables import STATIC, WEIGHT_ONLY, Format

CONVOLUTIONS = ("Conv", "ConvTranspose")
# GatherBlockQuantized has no rows of so few bits.
LEAST_BITS_OF_ROWS = 4


@dataclass(frozen=True)
class Layer:
    """A node that multiplies by a constant weight or looks rows of it up.

    Attributes:
        node: the operator.
        weight: the initializer, which other layers may share.
        formats: those that apply to it, float32 among them.
        table: whether it looks rows up.
    """

    node: ir.Node
    weight: ir.Value
    formats: tuple[Format, ...]
    table: bool

    @property
    def name(self) -> str:
        """The node's name; that of what it gives, behind bias and activation, where it has none."""
        return self.node.name or result_of(self.node)

    @property
    def glob(self) -> str:
        """What techniques know it by: its node's name, or its weight's where it has none."""
        return glob.escape(self.node.name or self.weight.name or "")


def layers_of(model: ir.Model) -> list[Layer]:
    """The layers of the main graph, in order; the model stays as it is."""
    copy = model.clone()
    write_fusible(Editor(copy))
    # A product and its sum become one node, which keeps the name of the product.
    integer = {(node.name, _initializer(node)) for node in place(copy.graph).layers}
    tables = set(embeddings(model.graph))
    found = []
    for node in model.graph:
        weight = _weight(node, tables)
        if weight is None:
            continue
        static = (node.name, weight.name) in integer
        formats = tuple(_formats(node, weight, static=static, table=node in tables))
        found.append(Layer(node, weight, formats, node in tables))
    return found


def _formats(node: ir.Node, weight: ir.Value, *, static: bool, table: bool) -> Iterator[Format]:
    yield "float32"
    if fits_float16(weight, Float16()):
        yield "float16"
    if static:
        yield from STATIC
    if table or linear_weight(node) is not None:
        yield "w8a8 dynamic"
        for form, bits in WEIGHT_ONLY.items():
            if not table or bits >= LEAST_BITS_OF_ROWS:
                yield form


def _initializer(node: ir.Node) -> str | None:
    weight = _weight(node, set())
    return None if weight is None else weight.name


def _weight(node: ir.Node, tables: set[ir.Node]) -> ir.Value | None:
    """The constant that makes a node a layer, or None."""
    if node in tables:
        return node.inputs[0]
    linear = linear_weight(node)
    if linear is not None:
        return linear.value
    if node.op_type not in CONVOLUTIONS or node.domain:
        return None
    weight = node.inputs[1]
    return weight if any(is_float_constant(weight, rank) for rank in (3, 4, 5)) else None


def tied(layers: Iterable[Layer]) -> tuple[tuple[str, ...], ...]:
    """Names of layers that share a weight, which in two formats would be stored twice."""
    readers: dict[ir.Value, list[str]] = {}
    for layer in layers:
        readers.setdefault(layer.weight, []).append(layer.name)
    return tuple(tuple(names) for names in readers.values() if len(names) > 1)
