"""Names people can read in an exported graph: inputs, outputs, dynamic sizes; no build traces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import onnx_ir as ir


def strip_traces(model: ir.Model) -> None:
    """Drop stack traces and shapes of inner values: they name the exporting machine's folders."""
    model.metadata_props.clear()
    model.doc_string = None
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
            value.metadata_props.clear()
        outputs = set(graph.outputs)
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
                if value not in outputs:
                    value.shape = None
                    value.type = None


def name_dimensions(
    graph: ir.Graph, names: Sequence[str], axes: Mapping[str, Mapping[int, str]]
) -> None:
    """Call the exporter's symbols (s18) by the names of the axes they stand for (batch)."""
    labels: dict[str, str] = {}
    for value, name in zip(graph.inputs, names, strict=True):
        for dimension, label in axes.get(name, {}).items():
            size = value.shape[dimension] if value.shape is not None else None
            if isinstance(size, ir.SymbolicDim) and size.value:
                labels.setdefault(size.value, label)
    for value in (*graph.inputs, *graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape([_relabelled(size, labels) for size in value.shape])


def _relabelled(size: int | ir.SymbolicDim, labels: Mapping[str, str]) -> int | ir.SymbolicDim:
    if isinstance(size, int) or size.value is None:
        return size
    text = re.sub(r"[A-Za-z_]\w*", lambda word: labels.get(word[0], word[0]), size.value)
    return ir.SymbolicDim(text)


def name_ports(graph: ir.Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name the graph's inputs and outputs; an inner value of such a name gives way."""
    _give_each_output_a_value(graph)
    ports = [*zip(graph.inputs, inputs, strict=True), *zip(graph.outputs, outputs, strict=True)]
    wanted = {name for _, name in ports}
    values = {*graph.inputs, *graph.initializers.values()}
    values.update(value for node in graph.all_nodes() for value in node.outputs)
    taken = wanted | {value.name for value in values if value.name}
    # A node's order decides the new name, so that the same graph gives the same bytes.
    for value in sorted((v for v in values if v.name in wanted), key=lambda v: v.name or ""):
        fresh = f"{value.name}_inner"
        while fresh in taken:
            fresh += "_"
        taken.add(fresh)
        value.name = fresh
    for value, name in ports:
        value.name = name


def _give_each_output_a_value(graph: ir.Graph) -> None:
    """An output that is an input, an initializer or another output cannot have its own name."""
    seen = {*graph.inputs, *graph.initializers.values()}
    for position, value in enumerate(list(graph.outputs)):
        if value in seen:
            copy = ir.node("Identity", [value])
            copy.outputs[0].shape, copy.outputs[0].type = value.shape, value.type
            graph.append(copy)
            graph.outputs[position] = copy.outputs[0]
        seen.add(graph.outputs[position])
