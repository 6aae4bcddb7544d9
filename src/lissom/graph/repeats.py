"""Drop what a graph says twice: Identity nodes and equal initializers."""

from __future__ import annotations

import hashlib

import onnx_ir as ir

from lissom.graph.edit import Editor


def drop_identities(model: ir.Model) -> int:
    """Let the readers of an Identity read its input.

    The names the graph returns stay: an Identity between one of them and a graph input, an
    initializer or another returned value is kept, and so is every Identity in the body of an If
    or Loop, whose outputs may not be values from outside.

    Returns:
        How many nodes went away.
    """
    editor = Editor(model)
    dropped = 0
    for node in list(model.graph):
        source = node.inputs[0] if node.inputs else None
        if node.op_type != "Identity" or node.domain or source is None:
            continue
        named = source.producer() is None or source.is_graph_output()
        if named and node.outputs[0].is_graph_output():
            continue
        editor.replace(node, source)
        dropped += 1
    return dropped


def merge_initializers(model: ir.Model) -> int:
    """Keep one of all initializers of the main graph with the same type, shape and content.

    Those that the caller can override or the graph returns are left alone.

    Returns:
        How many initializers went away.
    """
    graph = model.graph
    first: dict[tuple[ir.DataType, tuple[int, ...], bytes], ir.Value] = {}
    merged = 0
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            continue
        if value.is_graph_input() or value.is_graph_output():
            continue
        content = hashlib.sha256(tensor.tobytes()).digest()
        same = first.setdefault((tensor.dtype, tuple(tensor.shape.numpy()), content), value)
        if same is not value:
            value.replace_all_uses_with(same)
            del graph.initializers[name]
            merged += 1
    return merged
