"""Weights that a file lists among its inputs, as exporters once had to."""

from __future__ import annotations

import onnx_ir as ir

# Defaults that a caller is meant to override are small: a threshold, a temperature.
FEW_VALUES = 1024


def overridable_weights(model: ir.Model) -> list[ir.Value]:
    """Initializers large enough to be weights that the caller of the graph could replace."""
    return [
        value
        for value in model.graph.initializers.values()
        if value.is_graph_input()
        and value.const_value is not None
        and value.const_value.size >= FEW_VALUES
    ]


def make_constant(model: ir.Model) -> None:
    """Take every initializer off the list of inputs, in place: a runtime then optimizes with it."""
    fed = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    model.graph.inputs[:] = fed
