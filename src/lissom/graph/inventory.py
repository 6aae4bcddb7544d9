"""What a graph stores and who reads it, in the bodies of If, Loop and Scan too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from lissom.graph.bit_planes import Planes, planes_in

# Between a stored tensor and the operator that computes with it these only change its form.
FORMS = frozenset(
    {"Cast", "DequantizeLinear", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)


@dataclass(frozen=True)
class Stored:
    """An initializer, and where it is used.

    Attributes:
        value: the initializer.
        tensor: its content.
        reader: the first operator that computes with it, None where nothing does.
        place: which of that operator's inputs it is, behind whatever changes its form.
        planes: how bits lie in it where it is planes of bits, or None.
        unpacks: whether it only serves to unpack planes.
        body: the operator in whose body it is stored, such as "If /decide"; "" for the main graph.
    """

    value: ir.Value
    tensor: ir.TensorProtocol
    reader: ir.Node | None
    place: int
    body: str
    planes: Planes | None = None
    unpacks: bool = False

    @property
    def name(self) -> str:
        """The initializer's name."""
        return self.value.name or ""


def inventory(model: ir.Model) -> Iterator[Stored]:
    """Every initializer once, in the order of the file, those of bodies after the main graph's."""
    packed = {planes.value: planes for planes in planes_in(model.graph)}
    serving = {value for planes in packed.values() for value in planes.constants}
    for graph, body in _graphs(model.graph, ""):
        for value in graph.initializers.values():
            if value.const_value is not None:
                planes = packed.get(value)
                codes = value if planes is None else planes.nodes[-1].outputs[0]
                reader, place = _reader(codes)
                tensor, unpacks = value.const_value, value in serving
                yield Stored(value, tensor, reader, place, body, planes, unpacks)


def bytes_in_bodies(model: ir.Model) -> dict[str, int]:
    """Bytes of float weights stored in the bodies of operators, by the operator's type."""
    found: dict[str, int] = {}
    for stored in inventory(model):
        if stored.body and stored.tensor.dtype.is_floating_point():
            kind = stored.body.partition(" ")[0]
            found[kind] = found.get(kind, 0) + stored.tensor.nbytes
    return found


def computed_at_load(graph: ir.Graph) -> set[ir.Node]:
    """Nodes that read nothing but constants, which a runtime computes once while it loads."""
    found: set[ir.Node] = set()
    for node in graph:
        read = [value for value in node.inputs if value is not None]
        known = (
            value.producer() in found or (value.is_initializer() and not value.is_graph_input())
            for value in read
        )
        if read and all(known) and not any(bodies_of(each) for each in node.attributes.values()):
            found.add(node)
    return found


def _graphs(graph: ir.Graph, body: str) -> Iterator[tuple[ir.Graph, str]]:
    yield graph, body
    for node in graph:
        for attribute in node.attributes.values():
            for inner in bodies_of(attribute):
                # The outermost operator is the one whose name a user finds.
                yield from _graphs(inner, body or f"{node.op_type} {node.name or ''}".strip())


def bodies_of(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    """The graphs that an attribute holds, usually none."""
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    if attribute.type == ir.AttributeType.GRAPHS:
        return tuple(attribute.as_graphs())
    return ()


def _reader(value: ir.Value) -> tuple[ir.Node | None, int]:
    """The first operator that does more with a value than change its form."""
    seen: set[ir.Value] = set()
    while value not in seen:
        seen.add(value)
        use = next(iter(value.uses()), None)
        if use is None:
            return None, 0
        if use.node.op_type not in FORMS or use.node.domain or use.idx:
            return use.node, use.idx
        if not use.node.outputs[0].uses():
            return use.node, use.idx
        value = use.node.outputs[0]
    return None, 0
