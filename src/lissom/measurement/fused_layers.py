"""Layers that one file runs in one kernel and another file does not: they are compared together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx

from lissom.measurement.layer_times import LayerTimes, Owners

Links = Mapping[str, Sequence[str]]


def links(graph: onnx.GraphProto, known: Owners, roots: Mapping[str, str]) -> dict[str, list[str]]:
    """For each layer those whose results it reads, the last in the graph's order last."""
    # What belongs to no layer moves the result of one.
    carried: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for node in graph.node:
        read = [carried[name] for name in node.input if name in carried]
        for name in node.output:
            layer = roots.get(name, known.tensors.get(name))
            if layer is None and read:
                carried[name] = read[-1]
            elif layer is not None:
                carried[name] = layer
                before = found.setdefault(layer, [])
                before += [each for each in read if each != layer and each not in before]
    order = {layer: at for at, layer in enumerate(found)}
    return {layer: sorted(before, key=order.__getitem__) for layer, before in found.items()}


def groups(
    order: Iterable[str], before: Links, sides: Sequence[LayerTimes]
) -> dict[str, tuple[str, ...]]:
    """Layers to be compared together, by each of them.

    A layer that has a kernel of its own in one file and none in the other went, in the other, into
    that of the convolution before it where that adds a further tensor, and else into that of the
    first layer behind it.

    Args:
        order: the layers in graph order.
        before: for each layer those that it reads, as `links` gives them.
        sides: the times of the files.
    """
    names = list(order)
    head = {name: name for name in names}

    def leader(name: str) -> str:
        while head[name] != name:
            name = head[name]
        return name

    behind: dict[str, list[str]] = {}
    for name in names:
        for each in before.get(name, ()):
            behind.setdefault(each, []).append(name)
    for name in names:
        there = [name in side.layers for side in sides]
        if all(there) or not any(there):
            continue
        for side in sides:
            other = None if name in side.layers else _taken_into(name, side, before, behind)
            if other in head:
                head[leader(name)] = leader(str(other))
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(leader(name), []).append(name)
    return {name: tuple(members[leader(name)]) for name in names}


def _taken_into(name: str, side: LayerTimes, before: Links, behind: Links) -> str | None:
    adding = [each for each in before.get(name, ()) if each in side.adding]
    if adding:
        return adding[-1]
    waiting = [name]
    for each in waiting:
        for reader in behind.get(each, ()):
            if reader in side.layers:
                return reader
            if reader not in waiting:
                waiting.append(reader)
    return next((each for each in reversed(before.get(name, ())) if each in side.layers), None)
