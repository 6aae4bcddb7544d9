"""Names for nodes that have none, so that a layer can be called by one."""

from __future__ import annotations

from itertools import chain, count

import onnx_ir as ir

from lissom.graph.edit import constant_of, only_consumer

# What a layer may end with, as diagnosis names layers.
ENDS = frozenset({"Relu", "Clip", "BatchNormalization", "LeakyRelu", "PRelu"})


def result_of(node: ir.Node) -> str:
    """The name of what a layer gives, behind its bias and activation: what is not named itself is
    called by that; "" where that has no name."""
    value, biased = node.outputs[0], node.op_type == "Gather"
    while (reader := only_consumer(value)) is not None:
        is_bias = reader.op_type in ("Add", "Sum") and value is node.outputs[0] and not biased
        others = [each for each in reader.inputs if each is not value]
        if is_bias and len(others) == 1 and constant_of(others[0]) is not None:
            biased = True
        elif reader.op_type not in ENDS or reader.inputs[0] is not value:
            break
        value = reader.outputs[0]
    return value.name or ""


def name_nodes(graph: ir.Graph) -> None:
    """Name the nodes of a graph that have no name, each by what it gives.

    A layer gets the name that it is called by without one; bias and activation behind it that of
    their own output, or one with a number.

    Args:
        graph: nodes in order; those in the bodies of If and Loop stay as they are.
    """
    taken = {node.name for node in graph if node.name}
    # A number behind a name may not make another's result of it.
    results = {value.name for node in graph for value in node.outputs}
    for node in graph:
        if node.name:
            continue
        own = node.outputs[0].name if node.outputs else ""
        wanted = [result_of(node) if node.outputs else "", own or ""]
        numbered = (f"{own or node.op_type}_{number}" for number in count(2))
        node.name = next(
            name
            for name in chain(wanted, (each for each in numbered if each not in results))
            if name and name not in taken
        )
        taken.add(node.name)
