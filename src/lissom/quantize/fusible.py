"""Write float operators in the form that ONNX Runtime has integer kernels for."""

from __future__ import annotations

import onnx_ir as ir

from lissom.graph.edit import Editor, constant_of, only_consumer
from lissom.graph.weights import attribute, is_float_constant


def write_fusible(editor: Editor) -> None:
    """Rewrite what has no integer kernel into what computes the same and has one."""
    for node in list(editor.graph):
        if node.domain:
            continue
        if node.op_type == "MatMul":
            _with_bias(editor, node)
        elif node.op_type == "ReduceMean":
            _as_pooling(editor, node)


def pads_with_zero(node: ir.Node) -> bool:
    """Whether a Pad adds nothing but zeros, which every grid has a code for."""
    if node.op_type != "Pad" or node.attributes.get_string("mode", "constant") != "constant":
        return False
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    value = constant_of(node.inputs[2])
    return value is not None and float(value.reshape(-1)[0]) == 0.0


def pad_codes(editor: Editor) -> None:
    """Let a Pad between codes of one grid pad the codes themselves, with their zero point.

    ONNX Runtime drops the conversions around other operators that only move values, but not here,
    where the value to pad with is a real number.
    """
    for node in list(editor.graph):
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        after = only_consumer(node.outputs[0]) if pads_with_zero(node) else None
        if before is None or before.op_type != "DequantizeLinear":
            continue
        if after is None or after.op_type != "QuantizeLinear":
            continue
        codes, zero_point = before.inputs[0], before.inputs[2]
        assert codes is not None
        more = node.inputs[3:]
        (padded,) = editor.node(
            node, "Pad", [codes, node.inputs[1], zero_point, *more], stem=f"{node.name}_codes"
        )
        editor.replace(after, padded)


def _with_bias(editor: Editor, node: ir.Node) -> None:
    """MatMul and Add of matrices as one Gemm, whose bias can then be int32.

    ONNX Runtime (MatMulAddFusion) does so too, but while loading, with a float bias: the whole
    layer then runs in float, and its weights are dequantized in every run.
    """
    source, weight = node.inputs[0], node.inputs[1]
    add = only_consumer(node.outputs[0])
    if add is None or add.op_type != "Add" or add.domain or not is_float_constant(weight, 2):
        return
    if source is None or _rank(source) != 2:
        return
    bias = next((value for value in add.inputs if value is not node.outputs[0]), None)
    assert weight is not None and weight.const_value is not None
    if not _is_bias(bias, weight.const_value.shape[1]):
        if bias is not None and not bias.is_initializer():
            # The same fusion takes a residual for a bias; it does not see a Sum.
            add.op_type = "Sum"
            add.version = None
        return
    name = node.name
    node.name = None
    (result,) = editor.node(add, "Gemm", [source, weight, bias], stem=f"{name or 'linear'}_gemm")
    gemm = result.producer()
    assert gemm is not None
    # Settings name the layer by what it was called.
    gemm.name = name
    editor.replace(add, result)
    editor.graph.remove(node, safe=True)


def _is_bias(value: ir.Value | None, outputs: object) -> bool:
    return (
        is_float_constant(value, 1)
        and value is not None
        and value.const_value is not None
        and value.const_value.shape[0] == outputs
    )


def _as_pooling(editor: Editor, node: ir.Node) -> None:
    """The mean over the sides of an image as GlobalAveragePool."""
    source = node.inputs[0]
    if source is None or _rank(source) != 4:
        return
    if _axes(node) != {2, 3}:
        return
    name = node.name
    (result,) = editor.node(node, "GlobalAveragePool", [source], stem=f"{name or 'mean'}_pooled")
    if not attribute(node, "keepdims", 1):
        (result,) = editor.node(node, "Flatten", [result], stem=f"{name or 'mean'}_flat")
    editor.replace(node, result)


def _rank(value: ir.Value) -> int | None:
    """The number of axes, also where only the convolution before an activation or a sum says it."""
    maker = value.producer()
    while value.shape is None and maker is not None:
        if maker.op_type == "Gemm":
            return 2
        if maker.op_type == "Conv" and maker.inputs[1] is not None:
            value = maker.inputs[1]
        elif maker.op_type in ("Clip", "Relu") and maker.inputs[0] is not None:
            value = maker.inputs[0]
        elif maker.op_type == "Add":
            # Two computed tensors: a constant might have more axes.
            if any(each is None or each.producer() is None for each in maker.inputs):
                return None
            value = maker.inputs[0] or value
        else:
            return None
        maker = value.producer()
    return None if value.shape is None else len(value.shape)


def _axes(node: ir.Node) -> set[int] | None:
    """The axes of a mean of four: an input since operator set 18, an attribute before."""
    given = node.attributes.get("axes")
    if given is not None:
        axes = list(given.as_ints())
    else:
        array = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
        if array is None:
            return None
        axes = [int(axis) for axis in array.reshape(-1)]
    return {axis % 4 for axis in axes}
