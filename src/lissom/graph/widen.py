"""Let a graph that computes in 16-bit floats compute in float32, with the same ports."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from lissom.graph.edit import Editor, tidy

HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
# Attributes that name the type of a result.
TYPES = ("to", "dtype", "output_dtype")
# Fewer numbers are a constant that a graph in float32 may well hold in 16 bits.
FEW_VALUES = 16
FLOAT = ir.DataType.FLOAT.value


def holds_halves(model: ir.Model) -> bool:
    """Whether weights are stored as float16 or bfloat16, in bodies and Constant nodes too."""
    stored = (v.const_value for g in model.graphs() for v in g.initializers.values())
    constants = (
        attribute.value
        for node in model.graph.all_nodes()
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.TENSOR
    )
    return any(
        tensor is not None and tensor.dtype in HALVES and tensor.size > FEW_VALUES
        for tensor in (*stored, *constants)
    )


def widen(model: ir.Model) -> ir.Model:
    """Make every 16-bit float of a graph a float32, in place; inputs and outputs keep their types.

    Weights become exactly the same numbers, widened only when they are read or written. What is
    computed differs by the rounding that no longer happens.
    """
    if model.functions:
        passes.InlinePass()(model)
    editor = Editor(model)
    ports = {v: v.dtype for v in model.graph.outputs if v.dtype in HALVES}
    _cast_inputs(editor)
    for graph in model.graphs():
        if graph is not model.graph:
            for value in (*graph.inputs, *graph.outputs):
                _retype(value)
        for value in graph.initializers.values():
            _widen_initializer(value)
        for node in graph:
            _widen_attributes(node)
            for value in node.outputs:
                _retype(value)
    _cast_outputs(editor, ports)
    passes.ShapeInferencePass()(model)
    _drop_idle_casts(model)
    tidy(model)
    return model


def _keeps_type(value: ir.Value) -> bool:
    """Ports, and initializers that the caller may override or the graph returns."""
    return value.is_graph_input() or (value.is_initializer() and value.is_graph_output())


def _cast_inputs(editor: Editor) -> None:
    """Let everything read a port of 16 bits through a Cast."""
    graph = editor.graph
    ports = dict.fromkeys((*graph.inputs, *graph.initializers.values()))
    first = next(iter(graph))
    for value in ports:
        if value.dtype not in HALVES or not _keeps_type(value) or not value.uses():
            continue
        uses = tuple(value.uses())
        (wide,) = editor.node(
            first, "Cast", [value], stem=f"{value.name}_float32", attributes={"to": FLOAT}
        )
        wide.type, wide.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
        for use in uses:
            use.node.replace_input_with(use.idx, wide)


def _retype(value: ir.Value) -> None:
    if isinstance(value.type, ir.TensorType) and value.type.dtype in HALVES:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    elif isinstance(value.type, (ir.SequenceType, ir.OptionalType)) and value.dtype in HALVES:
        value.type = type(value.type)(ir.TensorType(ir.DataType.FLOAT))


def _widen_initializer(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is None or tensor.dtype not in HALVES or _keeps_type(value):
        return
    value.const_value = _wide(tensor)
    value.type = ir.TensorType(ir.DataType.FLOAT)


def _wide(tensor: ir.TensorProtocol) -> ir.LazyTensor:
    """The same numbers in float32, made when they are needed: a large model is never held whole."""

    def make() -> ir.TensorProtocol:
        return ir.tensor(np.asarray(tensor.numpy()).astype(np.float32), name=tensor.name)

    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(make, dtype=ir.DataType.FLOAT, shape=shape, name=tensor.name)


def _widen_attributes(node: ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in HALVES:
            wide = ir.tensor(np.asarray(attribute.value.numpy()).astype(np.float32))
            node.attributes[name] = ir.Attr(name, ir.AttributeType.TENSOR, wide)
        elif (
            name in TYPES
            and attribute.type == ir.AttributeType.INT
            and attribute.value in {half.value for half in HALVES}
        ):
            node.attributes[name] = ir.Attr(name, ir.AttributeType.INT, FLOAT)


def _cast_outputs(editor: Editor, ports: dict[ir.Value, ir.DataType]) -> None:
    """Give the results that were 16 bits wide their type and name back."""
    graph = editor.graph
    for place, value in enumerate(graph.outputs):
        if value not in ports or value.producer() is None:
            continue
        name, shape = value.name or "output", value.shape
        cast = ir.node("Cast", [value], attributes={"to": ports[value].value})
        cast.name = editor.free_name(f"{name}_narrow")
        graph.append(cast)
        graph.outputs[place] = cast.outputs[0]
        value.name = editor.free_name(f"{name}_float32")
        cast.outputs[0].name, cast.outputs[0].shape = name, shape
        cast.outputs[0].type = ir.TensorType(ports[value])


def _drop_idle_casts(model: ir.Model) -> None:
    """A Cast from float32 to float32 is an Identity, which other steps know how to drop."""
    for graph in model.graphs():
        for node in graph:
            source = node.inputs[0] if node.inputs else None
            if node.op_type != "Cast" or node.domain or source is None:
                continue
            if source.dtype == ir.DataType.FLOAT and node.attributes.get_int("to") == FLOAT:
                node.op_type = "Identity"
                node.version = None
                node.attributes.clear()
