"""Write float operators in the form that ONNX Runtime has integer kernels for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lissom.graph.edit import Editor, constant_of, only_consumer
from lissom.graph.weights import attribute, is_float_constant, is_kept_out

# How many axes a tensor has, for those whose shape is not written down.
Ranks = dict[ir.Value, int]


def write_fusible(editor: Editor, keep_float: Sequence[str] = ()) -> None:
    """Rewrite what has no integer kernel into what computes the same and has one."""
    ranks: Ranks = {}
    for node in list(editor.graph):
        if node.domain or node.graph is None or is_kept_out(node, keep_float):
            continue
        if node.op_type == "MatMul":
            _with_bias(editor, node, ranks)
        elif node.op_type == "ReduceMean":
            _as_pooling(editor, node, ranks)
        else:
            _follow(node, ranks)


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
        if after is None or after.op_type != "QuantizeLinear" or not _one_grid(before, after):
            continue
        codes, zero_point = before.inputs[0], before.inputs[2]
        assert codes is not None
        more = node.inputs[3:]
        (padded,) = editor.node(
            node, "Pad", [codes, node.inputs[1], zero_point, *more], stem=f"{node.name}_codes"
        )
        editor.replace(after, padded)


def _one_grid(before: ir.Node, after: ir.Node) -> bool:
    """Whether two conversions have one scale and one zero point, and the same ones."""
    if len(before.inputs) < 3 or len(after.inputs) < 3:
        return False
    pairs = zip(before.inputs[1:], after.inputs[1:], strict=True)
    arrays = [(constant_of(one), constant_of(other)) for one, other in pairs]
    return all(
        one is not None
        and other is not None
        and one.size == 1
        and one.dtype == other.dtype
        and np.array_equal(one, other)
        for one, other in arrays
    )


def _with_bias(editor: Editor, node: ir.Node, ranks: Ranks) -> None:
    """MatMul and Add of matrices as one Gemm, whose bias can then be int32.

    ONNX Runtime (MatMulAddFusion) does so too, but while loading, with a float bias: the whole
    layer then runs in float, and its weights are dequantized in every run. It takes more than two
    axes together where all their sizes are known, and a matrix for a bias, a residual for example.
    It does not see a Sum.
    """
    source, weight = node.inputs[0], node.inputs[1]
    add = only_consumer(node.outputs[0])
    if add is None or add.op_type != "Add" or add.domain or not is_float_constant(weight, 2):
        return
    bias = next((value for value in add.inputs if value is not node.outputs[0]), None)
    assert weight is not None and weight.const_value is not None
    if source is None or bias is None:
        return
    rank = _rank(source, ranks)
    if rank != 2 or not _is_bias(bias, weight.const_value.shape.numpy()[1]):
        if not _is_safe(source, bias, rank):
            add.op_type = "Sum"
            add.version = None
        return
    name = node.name
    node.name = None
    (result,) = editor.node(add, "Gemm", [source, weight, bias], stem=f"{name or 'linear'}_gemm")
    ranks[result] = 2
    gemm = result.producer()
    assert gemm is not None
    # Settings name the layer by what it was called.
    gemm.name = name
    editor.replace(add, result)
    editor.graph.remove(node, safe=True)


def _is_bias(value: ir.Value, outputs: int) -> bool:
    """Whether a value is one number for each output."""
    return any(is_float_constant(value, rank) for rank in (1, 2)) and (
        value.const_value is not None
        and tuple(value.const_value.shape.numpy()) in ((outputs,), (1, outputs))
    )


def _is_safe(source: ir.Value, bias: ir.Value, rank: int | None) -> bool:
    """Whether ONNX Runtime leaves a MatMul and its Add alone."""
    if rank is None or (bias.const_value is not None and bias.const_value.size == 1):
        return True
    if rank == 2:
        return False
    # More axes only with a vector; one open size is enough to keep them apart.
    many = bias.const_value is not None and len(bias.const_value.shape) > 1
    return many or source.shape is None or not source.shape.is_static()


def _as_pooling(editor: Editor, node: ir.Node, ranks: Ranks) -> None:
    """The mean over the sides of an image as GlobalAveragePool, which is for floats only."""
    source = node.inputs[0]
    if source is None or _rank(source, ranks) != 4 or _axes(node) != {2, 3}:
        return
    if source.dtype is not None and source.dtype != ir.DataType.FLOAT:
        return
    name = node.name
    (result,) = editor.node(node, "GlobalAveragePool", [source], stem=f"{name or 'mean'}_pooled")
    ranks[result] = 4
    if not attribute(node, "keepdims", 1):
        (result,) = editor.node(node, "Flatten", [result], stem=f"{name or 'mean'}_flat")
        ranks[result] = 2
    editor.replace(node, result)


def _rank(value: ir.Value, ranks: Ranks) -> int | None:
    return ranks.get(value) if value.shape is None else len(value.shape)


def _follow(node: ir.Node, ranks: Ranks) -> None:
    """Note the rank of what a node gives, as far as layers and activations between them tell."""
    found: int | None = None
    read = [None if value is None else _rank(value, ranks) for value in node.inputs]
    if node.op_type == "Gemm":
        found = 2
    elif node.op_type == "Conv":
        found = read[1]
    elif node.op_type in ("Clip", "GlobalAveragePool", "Relu"):
        found = read[0]
    elif node.op_type in ("Add", "Sum"):
        known = [rank for rank in read if rank is not None]
        found = max(known) if len(known) == len(read) else None
    if found is not None:
        ranks[node.outputs[0]] = found


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
