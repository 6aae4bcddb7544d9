"""Integer operators written as DequantizeLinear, the float operator and QuantizeLinear.

After this every quantized graph has one form, whatever quantizer wrote it: codes are made by
QuantizeLinear or DynamicQuantizeLinear and turned into reals by DequantizeLinear, and operators
between them compute with reals. Tensors keep their names: what was called so holds the same codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.edit import Editor, constant_of
from lissom.graph.weights import attribute

Rule = Callable[[Editor, ir.Node], None]


def expand(model: ir.Model) -> dict[str, int]:
    """Rewrite every integer operator of the main graph that is known; others stay as they are.

    Returns:
        Bits of the weights that were unpacked to floats, by name.
    """
    editor = Editor(model)
    widths: dict[str, int] = {}
    for node in list(model.graph):
        if node.op_type == "MatMulNBits":
            widths |= _blocks(editor, node)
            continue
        rule = RULES.get(node.op_type)
        if rule is not None and attribute(node, "channels_last", 0) == 0:
            rule(editor, node)
    return widths


def unpacked(node: ir.Node) -> NDArray[np.float32] | None:
    """The weight of a MatMulNBits as the `[inputs, outputs]` matrix it stands for.

    None where its codes are computed while running, or lie in an order of their own (g_idx).
    """
    packed, scales = constant_of(node.inputs[1]), constant_of(node.inputs[2])
    given = node.inputs[3] if len(node.inputs) > 3 else None
    order = node.inputs[4] if len(node.inputs) > 4 else None
    zeros = constant_of(given)
    if (
        packed is None
        or scales is None
        or order is not None
        or (given is not None) != (zeros is not None)
    ):
        return None
    depth, outputs = int(attribute(node, "K", 0)), int(attribute(node, "N", 0))
    bits = int(attribute(node, "bits", 4))
    block = int(attribute(node, "block_size", 32))
    count = -(-depth // block)
    codes = _wide(packed.reshape(outputs, -1), bits).reshape(outputs, count, -1)[..., :block]
    if zeros is None:
        middle: NDArray[np.float32] = np.full((outputs, count), 2 ** (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        middle = _wide(zeros.reshape(outputs, -1), bits)[:, :count].astype(np.float32)
    else:
        middle = zeros.reshape(outputs, count).astype(np.float32)
    steps = scales.reshape(outputs, count).astype(np.float32)
    reals = (codes.astype(np.float32) - middle[..., None]) * steps[..., None]
    matrix: NDArray[np.float32] = np.ascontiguousarray(reals.reshape(outputs, -1)[:, :depth].T)
    return matrix


def _wide(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes of a few bits, one a byte; the first is in the lowest bits."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[..., None] >> shifts) & np.uint8(2**bits - 1)
    wide: NDArray[np.uint8] = codes.reshape(*packed.shape[:-1], -1)
    return wide


def _reals(
    editor: Editor,
    node: ir.Node,
    codes: Sequence[ir.Value | None],
    axis: int | None = None,
) -> ir.Value:
    """DequantizeLinear of (codes, scale, zero point)."""
    kept = list(codes) if codes[2] is not None else list(codes[:2])
    stem = f"{codes[0].name if codes[0] is not None else 'codes'}_reals"
    vector = codes[1] is not None and codes[1].shape is not None and codes[1].shape.rank() == 1
    attributes = {} if axis is None or not vector else {"axis": axis}
    (found,) = editor.node(node, "DequantizeLinear", kept, stem=stem, attributes=attributes)
    return found


def _codes(
    editor: Editor, node: ir.Node, real: ir.Value, grid: Sequence[ir.Value | None]
) -> ir.Value:
    """QuantizeLinear to (scale, zero point)."""
    kept = [each for each in grid if each is not None]
    stem = f"{node.outputs[0].name}_codes"
    (found,) = editor.node(node, "QuantizeLinear", [real, *kept], stem=stem)
    return found


def _read(node: ir.Node, *places: int) -> list[ir.Value | None]:
    return [node.inputs[at] if at < len(node.inputs) else None for at in places]


def _convolution(editor: Editor, node: ir.Node) -> None:
    source = _reals(editor, node, _read(node, 0, 1, 2))
    weight = _reals(editor, node, _read(node, 3, 4, 5), axis=0)
    inputs = [source, weight]
    codes = constant_of(_read(node, 8)[0])
    steps = [constant_of(node.inputs[at]) for at in (1, 4)]
    if codes is not None and steps[0] is not None and steps[1] is not None:
        real = (codes.astype(np.float64) * steps[0] * steps[1].reshape(-1)).astype(np.float32)
        inputs.append(editor.constant(f"{node.outputs[0].name}_bias", real))
    attributes = {name: each.value for name, each in node.attributes.items()}
    (real_,) = editor.node(
        node, "Conv", inputs, stem=f"{node.outputs[0].name}_exact", attributes=attributes
    )
    _keep_name(node, real_)
    editor.replace(node, _codes(editor, node, real_, _read(node, 6, 7)))


def _keep_name(node: ir.Node, real: ir.Value) -> None:
    """Let the float operator be called as the integer one was."""
    maker = real.producer()
    if maker is not None and node.name:
        maker.name, node.name = node.name, None


def _product(editor: Editor, node: ir.Node) -> None:
    left = _reals(editor, node, _read(node, 0, 1, 2), axis=-2)
    right = _reals(editor, node, _read(node, 3, 4, 5), axis=-1)
    (real,) = editor.node(node, "MatMul", [left, right], stem=f"{node.outputs[0].name}_exact")
    _keep_name(node, real)
    editor.replace(node, _codes(editor, node, real, _read(node, 6, 7)))


def _gemm(editor: Editor, node: ir.Node) -> None:
    transposed = int(attribute(node, "transB", 0))
    left = _reals(editor, node, _read(node, 0, 1, 2))
    right = _reals(editor, node, _read(node, 3, 4, 5), axis=0 if transposed else 1)
    inputs = [left, right]
    codes = constant_of(_read(node, 6)[0])
    steps = [constant_of(node.inputs[at]) for at in (1, 4)]
    alpha = float(attribute(node, "alpha", 1.0))
    if codes is not None and steps[0] is not None and steps[1] is not None:
        real = (codes.astype(np.float64) * steps[0] * steps[1].reshape(-1) * alpha).astype(
            np.float32
        )
        inputs.append(editor.constant(f"{node.outputs[0].name}_bias", real))
    attributes = {
        "transA": int(attribute(node, "transA", 0)), "transB": transposed, "alpha": alpha,
    }  # fmt: skip
    (found,) = editor.node(
        node, "Gemm", inputs, stem=f"{node.outputs[0].name}_exact", attributes=attributes
    )
    _keep_name(node, found)
    grid = _read(node, 7, 8)
    editor.replace(node, found if grid[0] is None else _codes(editor, node, found, grid))


def _elementwise(kind: str, arity: int) -> Rule:
    """An operator on codes of `arity` tensors, each with its scale and zero point."""

    def rule(editor: Editor, node: ir.Node) -> None:
        inputs = [
            _reals(editor, node, _read(node, 3 * at, 3 * at + 1, 3 * at + 2)) for at in range(arity)
        ]
        skipped = ("channels_last", "opset")
        attributes = {n: each.value for n, each in node.attributes.items() if n not in skipped}
        (real,) = editor.node(
            node, kind, inputs, stem=f"{node.outputs[0].name}_exact", attributes=attributes
        )
        _keep_name(node, real)
        grid = _read(node, 3 * arity, 3 * arity + 1)
        editor.replace(node, _codes(editor, node, real, grid))

    return rule


def _concatenation(editor: Editor, node: ir.Node) -> None:
    count = (len(node.inputs) - 2) // 3
    inputs = [
        _reals(editor, node, _read(node, 2 + 3 * at, 3 + 3 * at, 4 + 3 * at)) for at in range(count)
    ]
    attributes = {name: each.value for name, each in node.attributes.items()}
    (real,) = editor.node(
        node, "Concat", inputs, stem=f"{node.outputs[0].name}_exact", attributes=attributes
    )
    _keep_name(node, real)
    editor.replace(node, _codes(editor, node, real, _read(node, 0, 1)))


def _integer(kind: str) -> Rule:
    """MatMulInteger and ConvInteger: sums of codes less their zero points, in units of one."""

    def rule(editor: Editor, node: ir.Node) -> None:
        one = editor.constant(f"{node.outputs[0].name}_one", np.ones((), np.float32))
        zeros = _read(node, 2, 3)
        left = _reals(editor, node, [node.inputs[0], one, zeros[0]])
        axis = 0 if kind == "Conv" else -1
        wide = one
        zero = constant_of(zeros[1])
        if zero is not None and zero.ndim == 1 and zero.size > 1:
            wide = editor.constant(f"{node.outputs[0].name}_ones", np.ones(zero.shape, np.float32))
        right = _reals(editor, node, [node.inputs[1], wide, zeros[1]], axis=axis)
        attributes = {name: each.value for name, each in node.attributes.items()}
        (real,) = editor.node(
            node, kind, [left, right], stem=f"{node.outputs[0].name}_exact", attributes=attributes
        )
        _keep_name(node, real)
        editor.replace(node, real)

    return rule


def _to_float(editor: Editor, node: ir.Node) -> None:
    """MatMulIntegerToFloat."""
    left = _reals(editor, node, _read(node, 0, 2, 4))
    right = _reals(editor, node, _read(node, 1, 3, 5), axis=-1)
    _with_bias(editor, node, left, right, _read(node, 6)[0])


def _dynamic(editor: Editor, node: ir.Node) -> None:
    """DynamicQuantizeMatMul."""
    source, weight, scale, zero, bias = _read(node, 0, 1, 2, 3, 4)
    parts = editor.node(
        node,
        "DynamicQuantizeLinear",
        [source],
        stem=f"{node.outputs[0].name}_input",
        outputs=3,
    )
    left = _reals(editor, node, parts)
    right = _reals(editor, node, [weight, scale, zero], axis=-1)
    _with_bias(editor, node, left, right, bias)


def _blocks(editor: Editor, node: ir.Node) -> dict[str, int]:
    """MatMulNBits, with the inputs as they are; the bits of its weight by name."""
    matrix = unpacked(node)
    if matrix is None:
        return {}
    weight = editor.constant(f"{node.outputs[0].name}_weight", matrix)
    source = node.inputs[0]
    assert source is not None
    bits = int(attribute(node, "bits", 4))
    _with_bias(editor, node, source, weight, _read(node, 5)[0])
    return {weight.name or "": bits}


def _with_bias(
    editor: Editor, node: ir.Node, left: ir.Value, right: ir.Value, bias: ir.Value | None
) -> None:
    (real,) = editor.node(node, "MatMul", [left, right], stem=f"{node.outputs[0].name}_exact")
    _keep_name(node, real)
    if bias is not None:
        (real,) = editor.node(node, "Add", [real, bias], stem=f"{node.outputs[0].name}_sum")
    editor.replace(node, real)


RULES: dict[str, Rule] = {
    "QLinearConv": _convolution,
    "QLinearMatMul": _product,
    "QGemm": _gemm,
    "QLinearAdd": _elementwise("Add", 2),
    "QLinearMul": _elementwise("Mul", 2),
    "QLinearSigmoid": _elementwise("Sigmoid", 1),
    "QLinearLeakyRelu": _elementwise("LeakyRelu", 1),
    "QLinearSoftmax": _elementwise("Softmax", 1),
    "QLinearAveragePool": _elementwise("AveragePool", 1),
    "QLinearGlobalAveragePool": _elementwise("GlobalAveragePool", 1),
    "QLinearConcat": _concatenation,
    "MatMulInteger": _integer("MatMul"),
    "ConvInteger": _integer("Conv"),
    "MatMulIntegerToFloat": _to_float,
    "DynamicQuantizeMatMul": _dynamic,
}
