"""A graph that ends earlier: at tensors inside of it instead of at its outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common as passes

from lissom.graph.edit import tidy


def ends_within(model: ir.Model, names: Sequence[str]) -> bool:
    """Whether the main graph has tensors of all these names, each made by one of its nodes."""
    made = {value.name for node in model.graph for value in node.outputs}
    return made.issuperset(names)


def end_at(model: ir.Model, names: Sequence[str]) -> None:
    """Let the graph give these tensors, and drop what nothing reads then; inputs stay.

    Args:
        model: its names are unique.
        names: of tensors that nodes of its main graph make, in the order they are to be given.
    """
    made = {value.name: value for node in model.graph for value in node.outputs}
    ends = [made[name] for name in names]
    if any(value.type is None for value in ends):
        # Outputs have types; tensors inside a graph need not.
        passes.ShapeInferencePass()(model)
    model.graph.outputs[:] = ends
    tidy(model)
