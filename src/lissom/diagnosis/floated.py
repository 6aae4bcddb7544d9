"""One layer of a quantized graph with float weights, all else as it was: what it takes in float."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lissom.diagnosis.expand import RULES
from lissom.graph.bit_planes import unpack_planes
from lissom.graph.edit import Editor, constant_of, tidy
from lissom.graph.weights import attribute
from lissom.quantize.islands import shield

# Operators on codes that may have weights, and are their float form between conversions.
INTEGER = frozenset({"QLinearConv", "QLinearMatMul", "QGemm"})
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def in_float(model: ir.Model, name: str) -> bool:
    """Give a node float weights and a float bias for its codes; the model is changed.

    The kernel then is the float one between the conversions that stand there, as quantize.static
    keeps layers float. The weights are the codes as numbers: it is for timing, not for computing.

    Args:
        model: a graph with QuantizeLinear and DequantizeLinear, or with operators on codes.
        name: of a node, or of its first output.

    Returns:
        Whether there was such a node with weights as codes.
    """
    node = next((n for n in model.graph if n.name == name or n.outputs[0].name == name), None)
    if node is None:
        return False
    # The runtime does so too while it loads: all else takes the same time.
    unpack_planes(model)
    editor = Editor(model)
    if node.op_type in INTEGER and attribute(node, "channels_last", 0) == 0:
        node = _between_conversions(editor, node)
    changed = False
    for place, value in enumerate(node.inputs):
        made = value.producer() if value is not None else None
        if value is None or made is None or made.op_type != "DequantizeLinear":
            continue
        codes = _constant(made.inputs[0])
        if codes is not None:
            floats = codes.astype(np.float32) * np.float32(0.01)
            node.replace_input_with(place, editor.constant(f"{value.name}_floats", floats))
            changed = True
    # The runtime would quantize it again while it loads.
    shield(editor, set(editor.graph) - {node})
    tidy(model)
    return changed


def _between_conversions(editor: Editor, node: ir.Node) -> ir.Node:
    """The float operator that stands for one on codes, which is replaced."""
    before = set(editor.graph)
    RULES[node.op_type](editor, node)
    made = [each for each in editor.graph if each not in before]
    return next(each for each in made if each.op_type not in CONVERSIONS)


def _constant(value: ir.Value | None) -> np.ndarray | None:
    """Codes, through a Cast of narrower ones."""
    node = value.producer() if value is not None else None
    return constant_of(node.inputs[0] if node is not None and node.op_type == "Cast" else value)
