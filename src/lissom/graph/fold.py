"""Fold what is already known: constant subexpressions, and batch norms into the layer before."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from lissom.graph.edit import Editor, constant_of, only_consumer
from lissom.graph.weights import attribute, is_float_constant
from lissom.targets.onnxruntime import session_options

# Folding one of these would undo a quantization or freeze a random number.
KEEP = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Constant"}
    | {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial"}
)
# An expanded constant may cost more on disk than the operators save.
LARGEST_GROWTH = 64 * 1024


def fold_constants(model: ir.Model) -> int:
    """Replace nodes that read only constants by their results, computed by ONNX Runtime.

    Results that would grow the file by more than 64 KiB stay expressions.

    Returns:
        How many nodes went away.
    """
    foldable = _foldable(model.graph)
    results = {v: v for node in foldable for v in node.outputs if _is_read_outside(v, foldable)}
    if not results:
        return 0
    arrays = _evaluate(model, foldable, list(results))
    editor = Editor(model)
    folded = 0
    for value, array in zip(results, arrays, strict=True):
        producer = value.producer()
        assert producer is not None
        if array.nbytes > LARGEST_GROWTH + _bytes_read(producer) or len(producer.outputs) > 1:
            continue
        if value.is_graph_output():
            continue
        stem = value.name or producer.op_type
        constant = editor.constant(f"{stem}_folded", array)
        value.replace_all_uses_with(constant)
        folded += 1
    return folded


def fold_batch_norms(model: ir.Model) -> int:
    """Scale the weights of a Conv, ConvTranspose or Gemm by the batch norm that follows it.

    W' = W * gamma / sqrt(var + eps), b' = (b - mean) * gamma / sqrt(var + eps) + beta, per output
    channel (Jacob et al. 2018, section 3.2).

    Returns:
        How many batch norms went away.
    """
    editor = Editor(model)
    folded = 0
    for norm in list(model.graph):
        if norm.op_type != "BatchNormalization" or len(norm.outputs) != 1:
            continue
        layer = norm.inputs[0].producer() if norm.inputs[0] is not None else None
        if layer is None or only_consumer(layer.outputs[0]) is not norm:
            continue
        axis = _output_axis(layer)
        parameters = [constant_of(value) for value in norm.inputs[1:5]]
        if axis is None or any(p is None for p in parameters):
            continue
        gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
        factor = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
        weight = np.asarray(constant_of(layer.inputs[1]), np.float64)
        bias = constant_of(layer.inputs[2]) if len(layer.inputs) > 2 else None
        if len(layer.inputs) > 2 and layer.inputs[2] is not None and bias is None:
            continue
        shape = [1] * weight.ndim
        shape[axis] = -1
        shift = ((0.0 if bias is None else bias.astype(np.float64)) - mean) * factor + beta
        stem = norm.outputs[0].name or "batch_norm"
        if layer.op_type == "Gemm":
            shift = np.broadcast_to(shift, (weight.shape[axis],))
        layer.resize_inputs(3)
        new_weight = (weight * factor.reshape(shape)).astype(np.float32)
        layer.replace_input_with(1, editor.constant(f"{stem}_weight", new_weight))
        layer.replace_input_with(2, editor.constant(f"{stem}_bias", shift.astype(np.float32)))
        editor.replace(norm, layer.outputs[0])
        folded += 1
    return folded


def _output_axis(layer: ir.Node) -> int | None:
    """Where a foldable layer's output channels lie in its weight; None when it is not foldable."""
    if layer.op_type == "Conv" and layer.inputs[1] is not None:
        rank = len(layer.inputs[1].const_value.shape) if layer.inputs[1].const_value else 0
        return 0 if is_float_constant(layer.inputs[1], rank) and rank > 2 else None
    if layer.op_type == "ConvTranspose" and attribute(layer, "group", 1) == 1:
        rank = len(layer.inputs[1].const_value.shape) if layer.inputs[1].const_value else 0  # type: ignore[union-attr]
        return 1 if is_float_constant(layer.inputs[1], rank) and rank > 2 else None
    if layer.op_type == "Gemm" and is_float_constant(layer.inputs[1], 2):
        plain = attribute(layer, "alpha", 1.0) == 1.0 and attribute(layer, "beta", 1.0) == 1.0
        return (0 if attribute(layer, "transB", 0) else 1) if plain else None
    return None


def _foldable(graph: ir.Graph) -> list[ir.Node]:
    """Nodes of the main graph that depend on constants alone, in order."""
    known: set[ir.Value] = set()
    nodes = []
    for node in graph:
        reads = [value for value in node.inputs if value is not None]
        if (
            reads
            and node.op_type not in KEEP
            and node.domain in ("", "ai.onnx")
            and not any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
                        for a in node.attributes.values())
            and all(value in known or _is_constant(value) for value in reads)
        ):
            nodes.append(node)
            known.update(node.outputs)
    return nodes


def _is_constant(value: ir.Value) -> bool:
    return value.const_value is not None and not value.is_graph_input()


def _is_read_outside(value: ir.Value, nodes: list[ir.Node]) -> bool:
    inside = set(nodes)
    return value.is_graph_output() or any(use.node not in inside for use in value.uses())


def _bytes_read(node: ir.Node) -> int:
    return sum(v.const_value.nbytes for v in node.inputs if v is not None and v.const_value)


def _evaluate(model: ir.Model, nodes: list[ir.Node], results: list[ir.Value]) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Run the constant part of a graph as a model of its own, with optimizations off."""
    clones: dict[ir.Value, ir.Value] = {}
    initializers = []
    for node in nodes:
        for value in node.inputs:
            if value is not None and value not in clones and _is_constant(value):
                clone = ir.Value(
                    name=value.name, shape=value.shape, type=value.type,
                    const_value=value.const_value,
                )
                clones[value] = clone
                initializers.append(clone)
        for value in node.outputs:
            clones[value] = ir.Value(name=value.name, shape=value.shape, type=value.type)
    copies = [
        ir.Node(
            node.domain,
            node.op_type,
            [None if value is None else clones[value] for value in node.inputs],
            attributes=list(node.attributes.values()),
            outputs=[clones[value] for value in node.outputs],
        )
        for node in nodes
    ]
    graph = ir.Graph(
        [],
        [clones[value] for value in results],
        nodes=copies,
        initializers=initializers,
        opset_imports=dict(model.graph.opset_imports),
        name="constants",
    )
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = ir.to_proto(ir.Model(graph, ir_version=model.ir_version))
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {}))
