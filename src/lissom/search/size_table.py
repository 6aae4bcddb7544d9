"""What every layer takes in the file in every format, counted in files that are in it whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from lissom.quantize.formats import Layer, layers_of
from lissom.quantize.mixed import Mixed, mixed
from lissom.tables import Format, SizeTable
from lissom.technique import Context

Tensors = set[str]


def size_table(original: ir.Model, uniform: Mapping[Format, ir.Model]) -> SizeTable:
    """Bytes of each layer in each format, in one file without external data.

    A layer's bytes are those of its nodes and of all that is stored for them alone: weights,
    scales, zero points and what unpacks or converts between it and what the float network computes
    before it. What is shared counts for the first layer that reads it. What a format adds that is
    no layer's own, conversions for the sums between layers for example, is split among the layers
    that are in it, so that the table is exact for a network in one format.

    Args:
        original: the float graph, as techniques are given it.
        uniform: the same graph with all layers that a format applies to in it, by format.

    Returns:
        The table; float32 is in it for every layer.
    """
    layers = layers_of(original)
    made = {value.name for node in original.graph for value in node.outputs if value.name}
    made |= {value.name for value in original.graph.inputs if value.name}
    floats, rest = _counted(original, layers, made)
    sizes: dict[str, dict[Format, int]] = {name: {"float32": size} for name, size in floats.items()}
    for form, model in uniform.items():
        mine = [layer.name for layer in layers if form in layer.formats]
        found, more = _counted(model, layers, made)
        if form == "float32" or not mine:
            continue
        # What stayed float is counted as it was.
        added = more - rest + sum(found[name] - floats[name] for name in floats if name not in mine)
        share, odd = divmod(added, len(mine))
        for place, name in enumerate(mine):
            sizes[name][form] = max(0, found[name] + share + (place < odd))
    return SizeTable(layers=sizes, rest=rest)


def in_one_format(original: ir.Model, form: Format, context: Context) -> ir.Model:
    """A copy of a graph with all layers that a format applies to in it.

    Raises:
        ModelError: there is no such layer.
    """
    return mixed(original.clone(), Mixed(default=form), context)


def _counted(model: ir.Model, layers: Iterable[Layer], made: Tensors) -> tuple[dict[str, int], int]:
    """Bytes of each layer, and of all else in the file."""
    nodes = {node.name: node for node in model.graph if node.name}
    makers = {value.name: node for node in model.graph for value in node.outputs}
    seen: set[ir.Node | ir.Value] = set()
    found: dict[str, int] = {}
    for layer in layers:
        # A technique that replaces a node by several gives the last one's result the old name.
        names = (layer.node.outputs[0].name, layer.name)
        there = [nodes.get(layer.node.name or ""), *(makers.get(name) for name in names)]
        node = next((each for each in there if each is not None), None)
        found[layer.name] = 0 if node is None else _own(node, made, seen)
    proto = ir.serde.serialize_model(_without_weights(model))
    weights = sum(map(_bytes_of, model.graph.initializers.values()))
    return found, proto.ByteSize() + weights - sum(found.values())


def _own(last: ir.Node, made: Tensors, seen: set[ir.Node | ir.Value]) -> int:
    """Bytes of a node and of what is computed and stored for it, up to tensors of the original."""
    total = 0
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        total += _framed(ir.serde.serialize_node(node).ByteSize())
        for value in node.inputs:
            if value is None or value in seen:
                continue
            maker = value.producer()
            if maker is not None and value.name not in made:
                waiting.append(maker)
            elif value.is_initializer() and not value.is_graph_input():
                seen.add(value)
                total += _bytes_of(value)
    return total


def _bytes_of(value: ir.Value) -> int:
    """Bytes of an initializer in the file."""
    tensor = value.const_value
    assert tensor is not None
    name, data = len((value.name or "").encode()), tensor.nbytes
    sizes = sum(1 + _varint(int(size)) for size in tensor.shape.numpy())
    return _framed(sizes + 2 + 1 + _varint(name) + name + 1 + _varint(data) + data)


def _framed(size: int) -> int:
    """Bytes of a message of that size in a list: its tag, its length and itself."""
    return 1 + _varint(size) + size


def _varint(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))


def _without_weights(model: ir.Model) -> ir.Model:
    """A copy of a graph with no initializers, to be serialized for its size."""
    copy = model.clone()
    copy.graph.initializers.clear()
    return copy
