"""Which layer's weights the bytes of a model file are, beside the same layers of another file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx_ir as ir

from lissom.measurement.footprint import size_on_disk
from lissom.measurement.records import Record
from lissom.onnx_file import read_onnx

# The rows of what belongs to no layer of the original.
ADDED, GRAPH = "tensors that steps added", "operators and names"


class LayerBytes(Record):
    """Bytes that one layer's tensors take on disk in the original and in the compressed file."""

    name: str
    original: int
    compressed: int


def layer_bytes(original: Path, compressed: Path) -> tuple[LayerBytes, ...]:
    """Both files' bytes by layer, the largest layer of the original first; they sum to the files.

    A layer is what stands before the last dot or slash of its tensors' names. A tensor of the
    compressed file belongs to the tensor it is called after (`w_int8` and `w_scale` to `w`), or
    else to the layer that shares its name's beginning or is computed by a node of the same name.
    What is no tensor at all, the operators and their names, is one row; so is what steps added.

    Raises:
        ModelError: a file cannot be read.
    """
    # One after the other, so that two large files are never in memory at once.
    stored, nodes = _before(original)
    kept, readers = _after(compressed)
    layers = {layer_of(name) for name in stored}
    counts: dict[str, list[int]] = {}
    for name, count in stored.items():
        counts.setdefault(layer_of(name), [0, 0])[0] += count
    for name, count in kept.items():
        found = _root(name, stored)
        layer = layer_of(found or name)
        if layer not in layers:
            layer = next((nodes[node] for node in readers.get(name, ()) if node in nodes), ADDED)
        counts.setdefault(layer, [0, 0])[1] += count
    rest = [
        max(0, size_on_disk(path) - sum(both[side] for both in counts.values()))
        for side, path in enumerate((original, compressed))
    ]
    counts[GRAPH] = rest
    found_layers = [
        LayerBytes(name=name, original=both[0], compressed=both[1])
        for name, both in counts.items()
        if any(both)
    ]
    return tuple(sorted(found_layers, key=lambda one: (-one.original, -one.compressed, one.name)))


def layer_of(tensor: str) -> str:
    """The name of the layer a tensor belongs to: `encoder.0.query` of `encoder.0.query.weight`."""
    cut = max(tensor.rfind("."), tensor.rfind("/"))
    return tensor[:cut] if cut > 0 else tensor


def _before(path: Path) -> tuple[dict[str, int], dict[str, str]]:
    model = read_onnx(path, check_weights=False)
    return _tensors(model), _layers_of_nodes(model)


def _after(path: Path) -> tuple[dict[str, int], dict[str, list[str]]]:
    model = read_onnx(path, check_weights=False)
    return _tensors(model), _readers(model)


def _tensors(model: ir.Model) -> dict[str, int]:
    """Bytes of every tensor that the file stores, by name; a name that comes twice counts twice.

    Bytes of external data that several tensors share are the first one's.
    """
    counts: dict[str, int] = {}
    shared = set()
    for value in _values(model):
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            place = (str(tensor.location), tensor.offset or 0)
            if place in shared:
                continue
            shared.add(place)
        if tensor is not None:
            name = value.name or ""
            counts[name] = counts.get(name, 0) + tensor.nbytes
    return counts


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """Initializers of all graphs, and outputs of Constant nodes with their tensors read."""
    for graph in model.graphs():
        yield from graph.initializers.values()
    for node in _nodes(model):
        if node.op_type == "Constant" and not node.domain:
            tensor = node.attributes.get("value")
            if tensor is not None and isinstance(tensor.value, ir.TensorProtocol):
                node.outputs[0].const_value = tensor.value
                yield node.outputs[0]


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def _layers_of_nodes(model: ir.Model) -> dict[str, str]:
    """For each named node the layer of the largest tensor it reads."""
    found = {}
    for node in _nodes(model):
        read = [v for v in node.inputs if v is not None and v.const_value is not None and v.name]
        if node.name and read:
            largest = max(read, key=lambda v: v.const_value.nbytes if v.const_value else 0)
            found[node.name] = layer_of(largest.name or "")
    return found


def _readers(model: ir.Model) -> dict[str, list[str]]:
    """Names of the nodes that read a value, and of those that read what such a node gives.

    A quantized weight reaches its layer through a node that turns it back to float.
    """
    found: dict[str, list[str]] = {}
    for node in _nodes(model):
        after = [use.node.name for output in node.outputs for use in output.uses() if use.node.name]
        for value in node.inputs:
            if value is not None and value.name:
                found.setdefault(value.name, []).extend([*filter(None, [node.name]), *after])
    return found


def _root(name: str, stored: Mapping[str, int]) -> str | None:
    """The longest name of a stored tensor that this one is, or is called after."""
    while name:
        if name in stored:
            return name
        name = name.rpartition("_")[0]
    return None
