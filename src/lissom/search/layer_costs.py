"""Times of whole networks in some patterns of formats, taken apart into layers and changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import onnx

from lissom.measurement.kernel_clock import quiet
from lissom.measurement.layer_times import LayerTimes, Owners
from lissom.tables import Allocation, Change, Format


@dataclass(frozen=True)
class Edge:
    """A tensor that one layer, or what follows it, makes and another reads."""

    tensor: str
    before: str
    after: str


@dataclass(frozen=True)
class Pattern:
    """A network built in one allocation: milliseconds by layer, and of what is no layer's."""

    allocation: Allocation
    layers: Mapping[str, float]
    rest: float


def regions(graph: onnx.GraphProto, layers: Sequence[str]) -> Owners:
    """Every tensor and node with the last layer before it; None before the first.

    What follows a layer, additions and activations, runs on codes or floats as the layer does.

    Args:
        graph: nodes in order.
        layers: names of nodes.
    """
    known = {name: at for at, name in enumerate(layers)}
    tensors: dict[str, str | None] = {}
    nodes: dict[str, str | None] = {}
    for node in graph.node:
        layer: str | None = node.name
        if node.name not in known:
            read = [found for name in node.input if (found := tensors.get(name)) is not None]
            layer = max(read, key=known.__getitem__, default=None)
        nodes[node.name] = layer
        tensors.update(dict.fromkeys(node.output, layer))
    return Owners(tensors, nodes)


def edges(graph: onnx.GraphProto, known: Owners) -> tuple[Edge, ...]:
    """Where one layer's region reads what another's made."""
    found: dict[Edge, None] = {}
    for node in graph.node:
        after = known.nodes.get(node.name)
        for name in node.input:
            before = known.tensors.get(name)
            if before is not None and after is not None and before != after:
                found[Edge(name, before, after)] = None
    return tuple(found)


def pattern(allocation: Allocation, times: LayerTimes) -> Pattern:
    """A measured network, conversions with the layer that they lead to.

    The mean of those openings of its file that nobody disturbed.
    """
    calm = quiet(times.whole)
    layers = {name: time.copy() for name, time in times.layers.items()}
    rest = times.rest
    for (before, behind), time in times.edges.items():
        layer = behind if behind is not None else before
        if layer is None:
            rest = rest + time
        else:
            layers[layer] = layers.get(layer, 0.0) + time
    found = {name: float(time[calm].mean()) for name, time in layers.items()}
    return Pattern(allocation, found, float(rest[calm].mean()))


def changes(
    along: Sequence[Edge],
    uniform: Mapping[Format, Pattern],
    mixed: Sequence[Pattern],
) -> tuple[Change, ...]:
    """What a change on each edge costs: what its reader takes longer than among its like.

    Where several tensors that a layer reads change at once, each has its part. An edge that
    changes in no pattern costs what the others do that leave the same layer, or else what all do
    in the middle.

    Args:
        along: the edges.
        uniform: the networks in one format each.
        mixed: networks of these formats.
    """
    measured: dict[Edge, list[float]] = {}
    for each in mixed:
        codes = each.allocation.has_codes
        changed = [edge for edge in along if codes(edge.before) != codes(edge.after)]
        for edge in changed:
            alike = uniform[each.allocation.of(edge.after)].layers.get(edge.after, 0.0)
            longer = each.layers.get(edge.after, 0.0) - alike
            parts = sum(other.after == edge.after for other in changed)
            measured.setdefault(edge, []).append(longer / parts)
    found = {edge: sum(times) / len(times) for edge, times in measured.items()}
    usual = median(found.values()) if found else 0.0

    def cost(edge: Edge) -> float:
        same = [time for other, time in found.items() if other.before == edge.before]
        return found[edge] if edge in found else median(same) if same else usual

    return tuple(
        Change(tensor=edge.tensor, before=edge.before, after=edge.after, ms=max(0.0, cost(edge)))
        for edge in along
    )
