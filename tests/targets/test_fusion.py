"""What ONNX Runtime made of small graphs, and the reason for each fall-back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from lissom.batches import Batches
from lissom.errors import FolderError, ModelError
from lissom.onnx_file import write_onnx
from lissom.quantize.static import Static, static
from lissom.targets import optimized
from lissom.targets.fallback import why_float
from lissom.targets.fusion import Fate, ReadBack, read_back
from lissom.technique import Context
from tests import models
from tests.graph.small import FLAG, branching, draw, node, opened, proto, tensor

SHAPE = [1, 4, 8, 8]
X = tensor("x", shape=SHAPE)
GRID = {
    "s": np.float32(0.1), "z": np.uint8(128), "zero": np.uint8(0), "signed": np.int8(0),
    "wide": np.uint16(9), "o": np.float32(0.3), "ws": np.float32(0.01), "wz": np.int8(0),
    "w": np.ones((4, 4, 1, 1), np.int8), "float_w": draw(4, 4, 1, 1),
    "m": np.ones((8, 8), np.int8), "bias": draw(8), "many": np.full(4, 0.1, np.float32),
    "zeros": np.full(4, 128, np.uint8), "bias8": np.ones(4, np.int8), "unsigned": np.uint8(128),
    "wu": np.full((4, 4, 1, 1), 130, np.uint8),
}  # fmt: skip


def pair(name: str, scale: str = "s", zero: str = "z", axis: int = 1) -> list[onnx.NodeProto]:
    return [
        node("QuantizeLinear", [name, scale, zero], f"{name}.q", axis=axis),
        node("DequantizeLinear", [f"{name}.q", scale, zero], f"{name}.r", axis=axis),
    ]


WEIGHT = node("DequantizeLinear", ["w", "ws", "wz"], "w.r")
MATRIX = node("DequantizeLinear", ["m", "ws", "wz"], "m.r")
CONV = node("Conv", ["x.r", "w.r"], "a")


def examined(nodes, folder: Path, outputs=("y",), inputs=(X,)) -> ReadBack:
    used = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in GRID.items() if name in used}
    path = folder / "small.onnx"
    onnx.save(proto(nodes, inputs, outputs, constants, opset=21, check=False), path)
    return read_back(path)


def fate(found: ReadBack, op_type: str) -> Fate:
    (only,) = [each for each in found.fates if each.op_type == op_type]
    return only


def end(name: str = "a.r") -> onnx.NodeProto:
    return node("Neg", [name], "y")


REASONS: dict[str, tuple[list[onnx.NodeProto], str, str]] = {
    "output not quantized": ([*pair("x"), WEIGHT, CONV, end("a")], "Conv", "read as float, by Neg"),
    "returned": ([*pair("x"), WEIGHT, node("Conv", ["x.r", "w.r"], "y")], "Conv", "returns"),
    "input float": (
        [WEIGHT, node("Conv", ["x", "w.r"], "a"), *pair("a"), end()],
        "Conv", "its input x is float",
    ),
    "nothing quantized": (
        [node("Conv", ["x", "float_w"], "a"), end("a")], "Conv", "it is not quantized",
    ),
    "both computed": (
        [node("MatMul", ["x", "x"], "a"), end("a")],
        "MatMul", "two tensors that are both computed while running",
    ),
    "zero point after a relu": (
        [*pair("x"), WEIGHT, CONV, node("Relu", ["a"], "b"), *pair("b"), end("b.r")],
        "Conv", "the codes after Relu have zero point 128",
    ),
    "clip": (
        [*pair("x"), WEIGHT, CONV, node("Clip", ["a", "z0"], "b"), *pair("b"), end("b.r")],
        "Conv", "the Clip behind it stays",
    ),
    "several readers": (
        [*pair("x"), WEIGHT, CONV, *pair("a"), node("Add", ["a", "a.r"], "y")],
        "Conv", "is read 2 times, by Add, QuantizeLinear",
    ),
    "sixteen bits": (
        [*pair("x", zero="wide"), WEIGHT, CONV, *pair("a", zero="wide"), end()],
        "Conv", "the codes of x.r are uint16",
    ),
    "weight float": (
        [*pair("x"), node("Conv", ["x.r", "float_w"], "a"), node("Neg", ["a"], "y")],
        "Conv", "its weight float_w is float",
    ),
    "weight computed": (
        [*pair("x"), node("Softmax", ["x"], "t"), node("MatMul", ["x.r", "t"], "y")],
        "MatMul", "its second factor t is computed while it runs",
    ),
    "bias of eight bits": (
        [
            *pair("x"), WEIGHT, node("DequantizeLinear", ["bias8", "ws", "wz"], "b.r"),
            node("Conv", ["x.r", "w.r", "b.r"], "a"), *pair("a"), end(),
        ],
        "Conv", "the codes of its bias b.r are int8",
    ),
    "kept float by lissom": (
        [*pair("x"), node("Sum", ["x.r"], "t"), node("Conv", ["t", "float_w"], "a"),
         *pair("a"), end()],
        "Conv", "lissom kept it float",
    ),
    "no kernel": (
        [*pair("x"), node("Tanh", ["x.r"], "a"), *pair("a"), end()],
        "Tanh", "no integer kernel for Tanh",
    ),
    "no kernel, and a way out": (
        [*pair("x"), node("ReduceMean", ["x.r"], "a"), end("a")], "ReduceMean", "no integer kernel",
    ),
    "other grids": (
        [*pair("x"), node("MaxPool", ["x.r"], "a", kernel_shape=[2, 2]), *pair("a", "o"), end()],
        "MaxPool", "different scales or zero points",
    ),
    "interpolation": (
        [*pair("x"), node("Resize", ["x.r", "", "double"], "a", mode="linear"), *pair("a"), end()],
        "Resize", "it interpolates",
    ),
    "a float operand": (
        [*pair("x"), node("Add", ["x.r", "x"], "a"), *pair("a"), end()],
        "Add", "its input x is float",
    ),
    "an unfused sum": (
        [*pair("x"), node("Add", ["x.r", "x.r"], "y")], "Add", "the graph returns its result y",
    ),
}  # fmt: skip
# Met by kernels of other machines: on x86 ONNX Runtime makes uint8 of int8 while it loads.
ELSEWHERE: dict[str, tuple[list[onnx.NodeProto], str, str]] = {
    "two types": (
        [*pair("x"), WEIGHT, CONV, *pair("a", zero="signed"), end()],
        "Conv", "the codes around it are int8 and uint8",
    ),
    "signed by unsigned": (
        [
            *pair("x", zero="signed"), node("DequantizeLinear", ["wu", "ws", "unsigned"], "w.r"),
            CONV, *pair("a", zero="signed"), end(),
        ],
        "Conv", "its input is int8 and its weight uint8",
    ),
    "a scale per channel": (
        [*pair("x", "many", "zeros"), WEIGHT, CONV, *pair("a"), end()],
        "Conv", "the codes of x.r have a scale for each channel",
    ),
    "signed activations": (
        [*pair("x", zero="signed"), WEIGHT, CONV, *pair("a", zero="signed"), end()],
        "Conv", "its activations are int8",
    ),
}  # fmt: skip
GRID |= {"z0": np.float32(0.0), "double": np.array([1, 1, 2, 2], np.float32)}


@pytest.mark.parametrize("why", REASONS)
def test_reasons(why: str, tmp_path: Path) -> None:
    nodes, op_type, words = REASONS[why]
    found = fate(examined(nodes, tmp_path), op_type)
    assert found.kind == "float"
    assert found.reason is not None
    assert words in found.reason.why
    assert found.reason.fix


@pytest.mark.parametrize("why", ELSEWHERE)
def test_reasons_that_this_machine_may_not_have(why: str) -> None:
    nodes, op_type, words = ELSEWHERE[why]
    used = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in GRID.items() if name in used}
    graph = opened(nodes, [X], ["y"], constants, opset=21, check=False).graph
    (conv,) = [each for each in graph if each.op_type == op_type]
    found = why_float(conv)
    assert found is not None
    assert words in found.why


def gemm(bias: str, shape: list[int], **attributes: Any) -> list[onnx.NodeProto]:
    return [*pair("x"), MATRIX, node("Gemm", ["x.r", "m.r", bias], "y", **attributes)]


def test_a_float_bias_makes_gemm_and_a_sum_behind_matmul_float(tmp_path: Path) -> None:
    x = [tensor("x", shape=[2, 8])]
    found = fate(examined(gemm("bias", [2, 8]), tmp_path, inputs=x), "Gemm")
    assert found.reason is not None
    assert found.reason.why == "its bias bias is float"
    product = node("MatMul", ["x.r", "m.r"], "p")
    nodes = [*pair("x"), MATRIX, product, node("Add", ["p", "bias"], "y")]
    found = fate(examined(nodes, tmp_path, inputs=x), "MatMul")
    assert found.kernel == "Gemm"
    assert found.reason is not None
    assert "float bias of a Gemm" in found.reason.why


def test_what_meets_every_condition_is_integer_and_what_moves_is_codes(tmp_path: Path) -> None:
    nodes = [
        *pair("x"), WEIGHT, CONV, node("Relu", ["a"], "b"), *pair("b", zero="zero"),
        node("MaxPool", ["b.r"], "c", kernel_shape=[2, 2]), *pair("c", zero="zero"), end("c.r"),
    ]  # fmt: skip
    found = examined(nodes, tmp_path)
    assert (fate(found, "Conv").kind, fate(found, "Conv").kernel) == ("integer", "QLinearConv")
    assert fate(found, "Relu").kind == "integer"
    assert fate(found, "MaxPool").kind == "codes"
    assert (fate(found, "Neg").kind, fate(found, "Neg").reason) == ("float", None)
    edges = [(each.op_type, each.edge, each.tensor) for each in found.conversions]
    assert edges == [
        ("QuantizeLinear", "graph input -> QLinearConv", "x"),
        ("DequantizeLinear", "MaxPool -> Neg", "c.q"),
    ]


def test_weights_that_are_made_float_in_every_run_are_conversions(tmp_path: Path) -> None:
    found = examined(REASONS["output not quantized"][0], tmp_path)
    (weights,) = [each for each in found.conversions if each.constant]
    assert weights.edge == "weights -> Conv"


def test_operator_form_without_dequantize(tmp_path: Path) -> None:
    inputs = ["xq", "s", "z", "w", "ws", "wz", "o", "z"]
    x = [tensor("xq", TensorProto.UINT8, SHAPE)]
    out = [tensor("y", TensorProto.UINT8)]
    found = examined([node("QLinearConv", inputs, "y")], tmp_path, out, x)
    assert [each.kind for each in found.fates] == ["integer"]
    assert found.conversions == ()


def test_dynamic_quantization_is_one_kernel(tmp_path: Path) -> None:
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        node("MatMulInteger", ["q", "m", "qz"], "sums"),
        node("Cast", ["sums"], "floats", to=TensorProto.FLOAT),
        node("Mul", ["qs", "ws"], "scales"),
        node("Mul", ["floats", "scales"], "p"),
        node("Relu", ["p"], "y"),
    ]
    found = examined(nodes, tmp_path, inputs=[tensor("x", shape=[2, 8])])
    assert fate(found, "MatMulInteger").kernel == "DynamicQuantizeMatMul"
    assert fate(found, "DynamicQuantizeLinear").kind == "gone"
    assert fate(found, "Relu").kind == "float"


@pytest.mark.parametrize(("level", "kind"), [(4, "integer"), (0, "float")])
def test_four_bit_weights_are_integer_at_one_accuracy_level(
    level: int, kind: str, tmp_path: Path
) -> None:
    codes, scales = np.zeros((8, 1, 16), np.uint8), np.ones(8, np.float32)
    layer = node(
        "MatMulNBits", ["x", "codes", "scales"], "y", domain="com.microsoft", K=32, N=8, bits=4,
        block_size=32, accuracy_level=level,
    )  # fmt: skip
    inputs, constants = [tensor("x", shape=[1, 32])], {"codes": codes, "scales": scales}
    model = proto([layer], inputs, [tensor("y", shape=[1, 8])], constants, check=False, opset=21)
    onnx.save(model, tmp_path / "four.onnx")
    (found,) = read_back(tmp_path / "four.onnx").fates
    assert found.kind == kind
    assert (found.reason is None) == (kind == "integer")


def test_nodes_without_names_and_branches(tmp_path: Path) -> None:
    nodes = [*pair("x"), WEIGHT, CONV, *pair("a")]
    for each in nodes:
        each.ClearField("name")
    then = [node("Neg", ["a.r"], "y_then")]
    body = branching(then, [node("Abs", ["a.r"], "y_else")], "y")
    found = examined([*nodes, body], tmp_path, inputs=[X, FLAG])
    conv = fate(found, "Conv")
    assert (conv.name, conv.kind) == ("a", "integer")
    assert fate(found, "If").kind == "float"


def test_a_float_file_has_only_layers_to_tell_of(tmp_path: Path) -> None:
    path = models.saved(models.depthwise(), tmp_path / "float.onnx")
    found = read_back(path)
    told = [each.op_type for each in found.fates if each.reason is not None]
    assert told == ["Conv", "Conv", "Conv", "Gemm"]
    assert found.conversions == ()


def test_what_is_computed_while_loading_is_gone(tmp_path: Path) -> None:
    nodes = [node("Neg", ["bias"], "t"), node("Add", ["x", "t"], "y")]
    assert fate(examined(nodes, tmp_path), "Neg").kind == "gone"


def test_files_that_are_no_model_and_disks_that_are_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError):
        read_back(tmp_path / "bad.onnx")
    path = models.saved(models.mlp(), tmp_path / "mlp.onnx")

    class Full:
        free = 10

    monkeypatch.setattr(optimized.shutil, "disk_usage", lambda folder: Full)
    with pytest.raises(FolderError, match="are free"):
        read_back(path)


@pytest.mark.parametrize(("type_", "kind"), [(np.uint8, "integer"), (np.int8, "float")])
def test_int8_codes_that_several_nodes_read(tmp_path: Path, type_: type, kind: str) -> None:
    """The remedy for what stays float is uint8: the same graph, requantized, runs in integers."""
    nodes = [
        node("Conv", ["x", "k"], "a"),
        node("Conv", ["a", "k"], "b"),
        node("Add", ["a", "b"], "c"),
        node("Conv", ["c", "k"], "d"),
        node("Exp", ["d"], "y"),
    ]
    model = opened(nodes, [X], ["y"], {"k": draw(4, 4, 1, 1)}, opset=21)
    context = Context(calibration=Batches.of([{"x": draw(*SHAPE)}]))
    config = Static(activations="uint8" if type_ is np.uint8 else "int8")
    write_onnx(static(model, config, context), tmp_path / "model.onnx")
    add = fate(read_back(tmp_path / "model.onnx"), "Add")
    assert add.kind == kind
    assert add.reason is None or "several nodes read the same codes" in add.reason.why


def test_a_product_of_three_axes_and_its_bias_became_a_float_gemm(tmp_path: Path) -> None:
    nodes = [
        *pair("x"), MATRIX, node("MatMul", ["x.r", "m.r"], "p"), node("Add", ["p", "bias"], "y"),
    ]  # fmt: skip
    found = fate(examined(nodes, tmp_path, inputs=[tensor("x", shape=[2, 3, 8])]), "MatMul")
    assert (found.kind, found.kernel) == ("float", "Gemm")
    assert found.reason is not None and "float bias of a Gemm" in found.reason.why
