"""Why ONNX Runtime runs a node in float although codes are near: the conditions of its fusions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from lissom.graph.edit import constant_of
from lissom.graph.weights import attribute

# Operators that are most of the work, with an integer kernel.
LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
# Operators with an integer kernel of their own between codes.
JOINS = frozenset(
    {
        "Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid",
        "Softmax", "Where",
    }
)  # fmt: skip
# Operators that run over codes when both sides have the same scale and zero point.
MOVES = frozenset(
    {
        "DepthToSpace", "Flatten", "Gather", "MaxPool", "ReduceMax", "ReduceMin", "Reshape",
        "Resize", "Slice", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
# Layers that multiply and have no integer kernel.
FLOAT_LAYERS = frozenset({"ConvTranspose", "Einsum", "GRU", "LSTM", "RNN"})
BYTES = frozenset({ir.DataType.INT8, ir.DataType.UINT8})
PAIR = "put a QuantizeLinear and DequantizeLinear pair on"
INSTEAD = {
    "BatchNormalization": "fold it into the layer before it, as graph.optimize does, and quantize "
    "what that gives",
    "ReduceMean": "over the sides of an image write GlobalAveragePool, which has one",
    "Sum": "write Add, which has one",
    "Split": "write one Slice for each part: it moves codes",
}


class Reason(NamedTuple):
    """Why a node runs in float, and what to do about it."""

    why: str
    fix: str


def why_float(node: ir.Node, kernel: str = "") -> Reason | None:
    """The first condition of ONNX Runtime's integer kernels that a node does not meet.

    Args:
        node: a node of the file, which runs in float.
        kernel: the operator it runs as.

    Returns:
        None for a node that stands among floats and has nothing to multiply.
    """
    if node.op_type == "MatMulNBits":
        return Reason(
            "its weights are turned into floats inside the kernel",
            "set its attribute accuracy_level to 4",
        )
    if node.op_type in LAYERS:
        return _layer(node, kernel)
    if node.op_type in FLOAT_LAYERS:
        return Reason(f"ONNX Runtime has no integer kernel for {node.op_type}", "leave it float")
    if not any(_codes(value) is not None for value in node.inputs):
        return None
    if node.op_type in JOINS:
        return _operands(node) or _codes_behind(node) or _one_type(node) or _unknown(node)
    if node.op_type in MOVES:
        if node.op_type == "Resize" and node.attributes.get_string("mode", "nearest") != "nearest":
            return Reason("it interpolates", "only mode nearest runs over codes")
        return _codes_behind(node) or _same_grid(node) or _unknown(node)
    if node.op_type in ("Clip", "Relu"):
        return _codes_behind(node) or _activation(node) or _unknown(node)
    if node.op_type != "ReduceMean" and _reader(node) is None:
        # Where floats go on, a float operator is where it should be.
        return None
    return Reason(
        f"ONNX Runtime has no integer kernel for {node.op_type}",
        INSTEAD.get(
            node.op_type, "leave it float; if it is cheap, so may be what stands around it"
        ),
    )


NOT_QUANTIZED = {
    True: "use quantize.static; a small first convolution is better left so: it is faster in float",
    False: "use quantize.static or quantize.dynamic",
}


def _layer(node: ir.Node, kernel: str) -> Reason | None:
    source, weight = node.inputs[0], node.inputs[1]
    if _is_shielded(source):
        return Reason("lissom kept it float", "take it out of keep_float")
    if _codes(source) is None and _codes(weight) is None:
        if weight is None or constant_of(weight) is None:
            return Reason(
                "it multiplies two tensors that are both computed while running",
                "leave it float: lissom quantizes products with constant weights",
            )
        return Reason("it is not quantized", NOT_QUANTIZED[node.op_type == "Conv"])
    return (
        _operands(node)
        or _arithmetic(node)
        or _bias(node, kernel)
        or (_codes_behind(node) if node.op_type == "Conv" else None)
        or _one_type(node)
        or _unknown(node)
    )


def _operands(node: ir.Node) -> Reason | None:
    """Everything but the bias must come from codes of eight bits with one scale."""
    count = 2 if node.op_type in LAYERS else len(node.inputs)
    for place, value in enumerate(node.inputs[:count]):
        if value is None or (node.op_type == "Where" and place == 0):
            continue
        codes = _codes(value)
        if codes is None:
            return _float_operand(value, is_weight=node.op_type in LAYERS and place == 1)
        if _code_type(codes) not in BYTES:
            name = _code_type(codes).name.lower()
            return Reason(f"the codes of {value.name} are {name}", "use int8 or uint8")
        if codes.attributes.get("block_size") and attribute(codes, "block_size", 0):
            return Reason(f"the codes of {value.name} have scales by block", "use one per channel")
        if (place == 0 or node.op_type in JOINS) and not _is_single(codes.inputs[1]):
            return Reason(
                f"the codes of {value.name} have a scale for each channel",
                "an activation has one scale for the whole tensor",
            )
    return None


def _float_operand(value: ir.Value, *, is_weight: bool) -> Reason:
    if is_weight and value.is_initializer():
        return Reason(f"its weight {value.name} is float", "store it as int8 codes")
    if is_weight:
        return Reason(
            f"its second factor {value.name} is computed while it runs, in float",
            f"{PAIR} {value.name} where both factors are activations; fold it where it is constant",
        )
    return Reason(f"its input {value.name} is float", f"{PAIR} {value.name}")


def _arithmetic(node: ir.Node) -> Reason | None:
    """Gemm's factors, and signed activations with unsigned weights, have no kernel."""
    source, weight = _codes(node.inputs[0]), _codes(node.inputs[1])
    assert source is not None and weight is not None
    if _code_type(source) == ir.DataType.INT8 and _code_type(weight) == ir.DataType.UINT8:
        return Reason("its input is int8 and its weight uint8", "use uint8 inputs or int8 weights")
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return Reason("it reads its input transposed (transA)", "transpose the input before it")
    if node.op_type == "Gemm" and attribute(node, "beta", 1.0) != 1.0:
        return Reason("its bias has a factor (beta)", "multiply the bias beforehand")
    return None


def _bias(node: ir.Node, kernel: str) -> Reason | None:
    """A bias must be int32 codes; a float one makes of MatMul, Add and Gemm a float Gemm."""
    fix = "store it as int32 codes at the scale of the input times the scale of the weight"
    if node.op_type == "MatMul":
        if kernel in ("Gemm", "FusedGemm"):
            return Reason(
                "the Add behind it became the float bias of a Gemm",
                f"write Sum for Add, which stays apart, or Gemm; {fix}",
            )
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return None
    codes = _codes(bias)
    if codes is not None and _code_type(codes) != ir.DataType.INT32:
        name = _code_type(codes).name.lower()
        return Reason(f"the codes of its bias {bias.name} are {name}", fix)
    if codes is None and node.op_type == "Gemm":
        return Reason(f"its bias {bias.name} is float", fix)
    return None


def _codes_behind(node: ir.Node) -> Reason | None:
    """Its result, behind a Relu or Clip that goes, must be read by one QuantizeLinear only."""
    value = node.outputs[0]
    readers = [use.node for use in value.uses()]
    if value.is_graph_output():
        return Reason(
            f"the graph returns its result {value.name} as float",
            "its kernel gives codes only: return what a DequantizeLinear behind it gives",
        )
    kinds = ", ".join(sorted({reader.op_type for reader in readers}))
    if len(readers) > 1:
        return Reason(
            f"its result {value.name} is read {len(readers)} times, by {kinds}",
            f"{PAIR} {value.name}, and let all readers read that",
        )
    if readers and readers[0].op_type in ("Relu", "Clip") and node.op_type not in ("Relu", "Clip"):
        return _codes_behind(readers[0]) or _activation(readers[0])
    if not readers or readers[0].op_type != "QuantizeLinear":
        return Reason(
            f"its result {value.name} is read as float, by {kinds or 'nothing'}",
            f"{PAIR} {value.name}",
        )
    return None


def _activation(node: ir.Node) -> Reason | None:
    """A Relu goes where the codes behind it have nothing below zero; a Clip never does."""
    behind = next(iter(node.outputs[0].uses())).node
    zero = constant_of(behind.inputs[2]) if len(behind.inputs) > 2 else None
    least = 0 if zero is None or zero.dtype.kind == "u" else int(np.iinfo(zero.dtype).min)
    if node.op_type == "Relu" and zero is not None and int(zero.reshape(-1)[0]) != least:
        return Reason(
            f"the codes after {node.op_type} have zero point {int(zero.reshape(-1)[0])}",
            f"use zero point {least}, which makes the Relu disappear",
        )
    if node.op_type == "Clip":
        return Reason(
            "the Clip behind it stays",
            f"use zero point {least} and a scale of at most its upper bound / 255, and drop it",
        )
    return None


def _one_type(node: ir.Node) -> Reason | None:
    """All activations of a kernel have codes of one type."""
    places = node.inputs[:1] if node.op_type in LAYERS else node.inputs
    found = [codes for value in places if (codes := _codes(value)) is not None]
    types = {_code_type(codes) for codes in found}
    reader = _reader(node)
    if reader is not None:
        types.add(_quantized_type(reader))
    if len(types) > 1:
        names = " and ".join(sorted(each.name.lower() for each in types))
        return Reason(f"the codes around it are {names}", "use one type for all activations")
    return None


def _same_grid(node: ir.Node) -> Reason | None:
    codes, reader = _codes(node.inputs[0]), _reader(node)
    if codes is None or reader is None:
        return None
    pairs = zip(codes.inputs[1:3], reader.inputs[1:3], strict=False)
    if all(_equal(first, second) for first, second in pairs):
        return None
    return Reason(
        "the codes before it and behind it have different scales or zero points",
        "an operator that only moves values needs the same on both sides",
    )


def _unknown(node: ir.Node) -> Reason:
    codes = _codes(node.inputs[0])
    if codes is not None and _code_type(codes) == ir.DataType.INT8:
        return Reason(
            "its activations are int8, which ONNX Runtime rewrites as uint8 on x86 before it "
            "fuses; where several nodes read the same codes it then fuses none of them",
            "use uint8 activations, with zero point 0 after a Relu",
        )
    return Reason(
        "ONNX Runtime did not fuse it, for a reason lissom does not know",
        "compare it with a layer that runs in integers",
    )


def _codes(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that gives a value, or None."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _code_type(dequantize: ir.Node) -> ir.DataType:
    """The type of the codes, which a zero point says even where inference stopped."""
    for place in (2, 0):
        value = dequantize.inputs[place] if len(dequantize.inputs) > place else None
        if value is not None and value.dtype is not None:
            return value.dtype
    return ir.DataType.UINT8


def _quantized_type(quantize: ir.Node) -> ir.DataType:
    """What a QuantizeLinear makes: the type of its zero point, or uint8."""
    zero = quantize.inputs[2] if len(quantize.inputs) > 2 else None
    if zero is not None and zero.dtype is not None:
        return zero.dtype
    return ir.DataType(int(attribute(quantize, "output_dtype", 0)) or ir.DataType.UINT8)


def _reader(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear behind a node, and behind its Relu or Clip."""
    for use in node.outputs[0].uses():
        if use.node.op_type in ("Relu", "Clip"):
            return _reader(use.node)
        if use.node.op_type == "QuantizeLinear":
            return use.node
    return None


def _is_single(scale: ir.Value | None) -> bool:
    array = constant_of(scale)
    return array is None or array.size == 1


def _equal(first: ir.Value | None, second: ir.Value | None) -> bool:
    one, other = constant_of(first), constant_of(second)
    return first is second or (one is not None and other is not None and np.array_equal(one, other))


def _is_shielded(value: ir.Value | None) -> bool:
    """Whether a Sum of one dequantized tensor stands before a layer, as `quantize.static` does."""
    node = value.producer() if value is not None else None
    return (
        node is not None
        and node.op_type == "Sum"
        and len(node.inputs) == 1
        and _codes(node.inputs[0]) is not None
    )
