"""One layer of a quantized graph with float weights, all else as it was: what it takes in float."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lissom.graph.bit_planes import unpack_planes
from lissom.graph.edit import Editor, constant_of, tidy


def in_float(model: ir.Model, name: str) -> bool:
    """Give a node float weights and a float bias for its codes; the model is changed.

    The kernel then is the float one between the conversions that stand there. The weights are the
    codes as numbers: it is for timing, not for computing.

    Args:
        model: a graph with QuantizeLinear and DequantizeLinear.
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
    tidy(model)
    return changed


def _constant(value: ir.Value | None) -> np.ndarray | None:
    """Codes, through a Cast of narrower ones."""
    node = value.producer() if value is not None else None
    return constant_of(node.inputs[0] if node is not None and node.op_type == "Cast" else value)
