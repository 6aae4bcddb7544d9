"""Maps among a graph's outputs, such as scores by class: onnx-ir has no type for them.

A runtime infers the type of what a file leaves undeclared. So maps are undeclared when a file is
read, remembered beside the graph under the names of its outputs, and declared again when it is
written: whatever happens to the graph in between, they are carried through.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

MAP, MAPS = KINDS = ("map", "sequence of maps")
# Where a graph in memory keeps the declarations.
KEPT = "lissom.maps"


def without_maps(graph: onnx.GraphProto) -> dict[str, bytes]:
    """Undeclare every map of a main graph, in place; the declarations of its outputs, by name."""
    maps = {v.name: v.type.SerializeToString() for v in graph.output if _kind(v.type)}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if _kind(value.type):
            value.ClearField("type")
    return maps


def keep_maps(model: ir.Model, maps: dict[str, bytes]) -> None:
    """Remember what `without_maps` took from the file that a model was made of."""
    if maps:
        model.graph.meta[KEPT] = maps


def declare_maps(graph: onnx.GraphProto, model: ir.Model) -> None:
    """Declare them again, in a graph made of that model; without that it is not valid ONNX."""
    maps = model.graph.meta.get(KEPT, {})
    for value in graph.output:
        if value.name in maps:
            value.type.ParseFromString(maps[value.name])


def kinds_of_maps(model: ir.Model) -> dict[str | None, str]:
    """Which outputs are maps: one of KINDS, by name."""
    maps = model.graph.meta.get(KEPT, {})
    return {name: _kind(onnx.TypeProto.FromString(declared)) for name, declared in maps.items()}


def _kind(declared: onnx.TypeProto) -> str:
    """One of KINDS, or nothing."""
    if declared.HasField("map_type"):
        return MAP
    inner = declared.sequence_type.elem_type if declared.HasField("sequence_type") else None
    return MAPS if inner is not None and inner.HasField("map_type") else ""
