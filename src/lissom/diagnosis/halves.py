"""Networks in 16-bit floats, taken apart as they compute in float32."""

from __future__ import annotations

import onnx_ir as ir

from lissom.graph.widen import HALVES, TYPES, widen


def in_float32(model: ir.Model) -> ir.Model:
    """The graph with every 16-bit float a float32, outputs too; changed in place if it has any.

    Inputs keep their types, and all tensors of the graph their names. What is computed differs by
    the rounding to 16 bits, of results and outputs, that no longer happens.
    """
    if computes_in_halves(model):
        widen(model)
    graph = model.graph
    for place, value in enumerate(graph.outputs):
        node = value.producer()
        source = node.inputs[0] if node is not None and _narrows(node) else None
        if node is None or source is None or source.producer() is None or value.uses():
            continue
        if source.dtype == ir.DataType.FLOAT and not source.is_graph_output():
            graph.outputs[place] = source
            name = value.name
            graph.remove(node, safe=True)
            value.name, source.name = None, name
    return model


def computes_in_halves(model: ir.Model) -> bool:
    """Whether 16-bit floats are more than the types of inputs and outputs."""
    stored = (v for graph in model.graphs() for v in graph.initializers.values())
    if any(value.dtype in HALVES for value in stored):
        return True
    ports = [value for value in model.graph.inputs if value.dtype in HALVES]
    if any(use.node.op_type != "Cast" for value in ports for use in value.uses()):
        return True
    return any(_makes_halves(node) for node in model.graph.all_nodes())


def _makes_halves(node: ir.Node) -> bool:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in HALVES:
            return True
        if attribute.name in TYPES and attribute.value in HALVES:
            return not (_narrows(node) and not node.outputs[0].uses())
    return False


def _narrows(node: ir.Node) -> bool:
    """Whether it is a Cast to 16 bits."""
    return node.op_type == "Cast" and node.attributes["to"].value in HALVES
