"""Keep float what was left float: ONNX Runtime would quantize it while it loads."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from lissom.graph.edit import Editor, only_consumer
from lissom.graph.weights import is_float_constant

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
PASSED = frozenset({"Relu", "Clip", "Add"})


def shield(editor: Editor, integer: Collection[ir.Node]) -> int:
    """Part float layers from the codes they read, where codes are also made of their result.

    ONNX Runtime (WeightBiasQuantization, since 1.21) gives such a layer int8 weights of its own,
    one scale for the whole tensor and 8 bits wide whatever the machine computes exactly. A Sum of
    one tensor in front of the layer changes nothing and is not seen through.

    Returns:
        How many layers were shielded.
    """
    shielded = 0
    for node in list(editor.graph):
        source = node.inputs[0] if node.inputs else None
        if source is None or node in integer or not _has_float_weights(node):
            continue
        codes = source.producer()
        if codes is None or codes.op_type != "DequantizeLinear":
            continue
        if _ends_in_codes(node.outputs[0]):
            (same,) = editor.node(node, "Sum", [source], stem=f"{node.outputs[0].name}_float")
            node.replace_input_with(0, same)
            shielded += 1
    return shielded


def _has_float_weights(node: ir.Node) -> bool:
    weight = node.inputs[1] if node.op_type in WEIGHTED and len(node.inputs) > 1 else None
    tensor = weight.const_value if weight is not None else None
    return tensor is not None and is_float_constant(weight, len(tensor.shape))


def _ends_in_codes(value: ir.Value) -> bool:
    reader = only_consumer(value)
    if reader is None:
        return False
    if reader.op_type == "QuantizeLinear":
        return True
    return reader.op_type in PASSED and _ends_in_codes(reader.outputs[0])
