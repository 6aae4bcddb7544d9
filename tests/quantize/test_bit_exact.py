"""Integer kernels of this machine against the evaluator that ONNX defines its operators with.

Every scale is a power of two here, so that rescaling an accumulator is exact in any float
arithmetic and what is left is integer sums and one rounding, half to even: every code must be
equal. Weights keep the pair condition (two neighbours of one sign add up to at most 128 in
magnitude), under which the 16-bit sums of kernels without VNNI are exact too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from lissom.targets.fusion import read_back
from tests.graph.small import node, proto, reference, run, tensor

# Whatever neighbours meet, 64 + 64 is the most they can be.
LARGEST = 64


def weights(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-LARGEST, LARGEST + 1, shape).astype(np.int8)


def channel_scales(count: int) -> np.ndarray:
    return np.float32(2.0) ** -np.float32(6 + np.arange(count) % 4)


def images(*shape: int) -> np.ndarray:
    """Values on and between the codes of scale 1/16 and zero point 128, a few outside them."""
    return np.random.default_rng(0).uniform(-8.5, 8.5, shape).astype(np.float32)


GRID = {
    "s": np.float32(1 / 16), "z": np.uint8(128), "o": np.float32(1 / 8), "zero": np.uint8(0),
    "p": np.float32(1 / 32),
}  # fmt: skip


def codes_of(name: str, scale: str = "s", zero: str = "z") -> list[onnx.NodeProto]:
    """Quantize and dequantize the tensor `name` as `name.r`."""
    return [
        node("QuantizeLinear", [name, scale, zero], f"{name}.q"),
        node("DequantizeLinear", [f"{name}.q", scale, zero], f"{name}.r"),
    ]


def weight(name: str, codes: np.ndarray, axis: int) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    scales = channel_scales(codes.shape[axis])
    zeros = np.zeros(scales.shape, np.int8)
    made = node("DequantizeLinear", [f"{name}.c", f"{name}.s", f"{name}.z"], f"{name}.r", axis=axis)
    return [made], {f"{name}.c": codes, f"{name}.s": scales, f"{name}.z": zeros}


def bias(scales: np.ndarray) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    codes = np.random.default_rng(3).integers(-4000, 4000, scales.shape).astype(np.int32)
    made = node("DequantizeLinear", ["b.c", "b.s", "b.z"], "b.r", axis=0)
    constants = {"b.c": codes, "b.s": scales * GRID["s"], "b.z": np.zeros(scales.shape, np.int32)}
    return [made], constants


def small(nodes, shape, constants) -> onnx.ModelProto:
    """A model from x to the codes in "y.q" and "y.r", what they stand for."""
    outputs = [tensor("y.r")]
    return proto(nodes, [tensor("x", shape=shape)], outputs, GRID | constants, opset=21)


def kinds(model: onnx.ModelProto, folder: Path) -> dict[str, tuple[str, str]]:
    """How each operator that is no conversion runs."""
    path = folder / "small.onnx"
    onnx.save(model, path)
    found = read_back(path).fates
    return {f.op_type: (f.kind, f.kernel) for f in found if "Quantize" not in f.op_type}


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 8, 9, 9), (6, 8, 3, 3), {"pads": [1, 1, 1, 1]}),
    "stride and dilation": ((1, 8, 9, 9), (6, 8, 3, 3), {"strides": [2, 2], "dilations": [2, 2]}),
    "pointwise": ((2, 16, 5, 5), (8, 16, 1, 1), {}),
    "grouped": ((1, 8, 6, 6), (8, 4, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ((1, 16, 6, 6), (16, 1, 3, 3), {"group": 16, "pads": [1, 1, 1, 1]}),
    "one-dimensional": ((2, 8, 12), (6, 8, 3), {"pads": [1, 1]}),
    "three-dimensional": ((1, 4, 5, 5, 5), (6, 4, 3, 3, 3), {}),
}


def convolution(
    name: str, active: bool = False
) -> tuple[list[onnx.NodeProto], list[int], dict[str, Any]]:
    shape, kernel, attributes = CONVOLUTIONS[name]
    made, constants = weight("w", weights(*kernel), 0)
    offset, more = bias(constants["w.s"])
    nodes = [*codes_of("x"), *made, *offset]
    nodes.append(node("Conv", ["x.r", "w.r", "b.r"], "a" if active else "y", **attributes))
    if active:
        nodes.append(node("Relu", ["a"], "y"))
    nodes += codes_of("y", "o", "zero" if active else "z")
    return nodes, list(shape), constants | more


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, active: bool, tmp_path: Path) -> None:
    nodes, shape, constants = convolution(name, active)
    model = small(nodes, shape, constants)
    assert kinds(model, tmp_path)["Conv"] == ("integer", "QLinearConv")
    agree(model, images(*shape))


def agree(model: onnx.ModelProto, x: np.ndarray) -> None:
    """Every value is equal, and they are worth comparing: many different ones, few saturated."""
    expected = reference(model, {"x": x})[0]
    assert len(np.unique(expected)) >= 20
    np.testing.assert_array_equal(run(model, {"x": x})[0], expected)


@pytest.mark.parametrize("gives_codes", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_gemm(transposed: bool, gives_codes: bool, tmp_path: Path) -> None:
    shape = (9, 40) if transposed else (40, 9)
    made, constants = weight("w", weights(*shape), 0 if transposed else 1)
    offset, more = bias(constants["w.s"])
    nodes = [*codes_of("x"), *made, *offset]
    out = "y" if gives_codes else "y.r"
    nodes.append(node("Gemm", ["x.r", "w.r", "b.r"], out, transB=int(transposed)))
    nodes += codes_of("y", "o") if gives_codes else []
    model = small(nodes, [5, 40], constants | more)
    assert kinds(model, tmp_path)["Gemm"] == ("integer", "QGemm")
    agree(model, images(5, 40))


@pytest.mark.parametrize("gives_codes", [True, False])
def test_matmul(gives_codes: bool, tmp_path: Path) -> None:
    made, constants = weight("w", weights(40, 9), 1)
    out = "y" if gives_codes else "y.r"
    nodes = [*codes_of("x"), *made, node("MatMul", ["x.r", "w.r"], out)]
    nodes += codes_of("y", "o") if gives_codes else []
    model = small(nodes, [2, 5, 40], constants)
    kernel = "QLinearMatMul" if gives_codes else "MatMulIntegerToFloat"
    assert kinds(model, tmp_path)["MatMul"] == ("integer", kernel)
    agree(model, images(2, 5, 40))


def test_matmul_integer(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (5, 64)).astype(np.uint8)
    nodes = [node("MatMulInteger", ["x", "w", "z"], "y")]
    inputs = [tensor("x", TensorProto.UINT8, [5, 64])]
    outputs = [tensor("y", TensorProto.INT32)]
    constants = {"w": weights(64, 9), "z": np.uint8(117)}
    model = proto(nodes, inputs, outputs, constants, opset=21)
    assert kinds(model, tmp_path)["MatMulInteger"] == ("integer", "MatMulInteger")
    agree(model, codes)


def test_dynamic_matmul(tmp_path: Path) -> None:
    """The range of x, [-8, 7.9375], makes its scale 1/16 and its zero point 128."""
    x = images(5, 40).clip(-8, 7.9375)
    x[0, :2] = -8, 7.9375
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        node("MatMulInteger", ["q", "w", "qz"], "sums"),
        node("Cast", ["sums"], "floats", to=TensorProto.FLOAT),
        node("Mul", ["qs", "ws"], "scales"),
        node("Mul", ["floats", "scales"], "y.r"),
    ]
    constants = {"w": weights(40, 9), "ws": channel_scales(9)}
    model = small(nodes, [5, 40], constants)
    assert kinds(model, tmp_path)["MatMulInteger"] == ("integer", "DynamicQuantizeMatMul")
    agree(model, x)


OTHERS: dict[str, tuple[list[onnx.NodeProto], str, tuple[str, str]]] = {
    "Add": ([node("Add", ["x.r", "t.r"], "y")], "o", ("integer", "QLinearAdd")),
    "Mul": ([node("Mul", ["x.r", "t.r"], "y")], "o", ("integer", "QLinearMul")),
    "Concat": ([node("Concat", ["x.r", "t.r"], "y", axis=1)], "o", ("integer", "QLinearConcat")),
    "MaxPool": (
        [node("MaxPool", ["x.r"], "y", kernel_shape=[2, 2])], "s", ("codes", "MaxPool"),
    ),
    "AveragePool": (
        [node("AveragePool", ["x.r"], "y", kernel_shape=[2, 2])],
        "o",
        ("integer", "QLinearAveragePool"),
    ),
    "GlobalAveragePool": (
        [node("GlobalAveragePool", ["x.r"], "y")], "p", ("integer", "QLinearGlobalAveragePool"),
    ),
    "LeakyRelu": (
        [node("LeakyRelu", ["x.r"], "y", alpha=0.25)], "o", ("integer", "QLinearLeakyRelu"),
    ),
    "Reshape": ([node("Reshape", ["x.r", "flat"], "y")], "s", ("codes", "Reshape")),
    "Transpose": (
        [node("Transpose", ["x.r"], "y", perm=[0, 2, 3, 1])], "s", ("codes", "Transpose"),
    ),
    "Slice": ([node("Slice", ["x.r", "from", "to"], "y")], "s", ("codes", "Slice")),
    "Resize": (
        [
            node(
                "Resize", ["x.r", "", "factors"], "y", mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        ],
        "s",
        ("codes", "Resize"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_operators_between_codes(kind: str, tmp_path: Path) -> None:
    nodes, scale, expected = OTHERS[kind]
    second = []
    if "t.r" in nodes[0].input:
        second = [node("Transpose", ["x"], "t", perm=[0, 1, 3, 2]), *codes_of("t", "o")]
    constants = {
        "flat": np.array([2, -1]), "from": np.array([0, 1]), "to": np.array([2, 5]),
        "factors": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    used = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in constants.items() if name in used}
    model = small(
        [*codes_of("x"), *second, *nodes, *codes_of("y", scale)], [2, 16, 8, 8], constants
    )
    assert kinds(model, tmp_path)[kind] == expected
    agree(model, images(2, 16, 8, 8))


@pytest.mark.parametrize("name", ["plain", "pointwise", "grouped", "depthwise"])
def test_any_scales_differ_by_one_code_and_only_in_ties(name: str, tmp_path: Path) -> None:
    """The sums are the same integers; only the product of the scales is rounded elsewhere.

    The kernel multiplies a sum by one float32 factor, the evaluator multiplies in floats first: a
    value that lies within a few float32 steps of a half may then round to either side.
    """
    nodes, shape, constants = convolution(name)
    constants = constants | {
        "s": np.float32(0.0613), "o": np.float32(0.1371), "w.s": constants["w.s"] * np.float32(1.3)
    }  # fmt: skip
    constants["b.s"] = constants["w.s"] * constants["s"]
    model = small(nodes, shape, constants)
    assert kinds(model, tmp_path)["Conv"] == ("integer", "QLinearConv")
    x = images(*shape)
    expected = np.rint(reference(model, {"x": x})[0] / constants["o"]).astype(int)
    found = np.rint(run(model, {"x": x})[0] / constants["o"]).astype(int)
    off = np.abs(found - expected)
    assert off.max() <= 1
    assert np.all(off[~ties(model, constants, x)] == 0)


def ties(model: onnx.ModelProto, constants: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """Where the exact result lies so near to the middle of two codes that floats may disagree."""
    conv = next(each for each in model.graph.node if each.op_type == "Conv")
    codes = np.clip(np.rint(x / constants["s"]) + 128, 0, 255) - 128
    per_channel = (-1,) + (1,) * (x.ndim - 2)
    exact = proto(
        [node("Conv", ["x", "w"], "y", **{a.name: onnx.helper.get_attribute_value(a)
                                          for a in conv.attribute})],
        [tensor("x", TensorProto.DOUBLE, x.shape)],
        [tensor("y", TensorProto.DOUBLE)],
        {"w": constants["w.c"].astype(np.float64)},
        opset=21,
    )  # fmt: skip
    sums = reference(exact, {"x": codes})[0] + constants["b.c"].reshape(per_channel)
    factor = constants["w.s"].astype(np.float64) * constants["s"] / constants["o"]
    values = sums * factor.reshape(per_channel)
    return np.abs(values - np.floor(values) - 0.5) < 1e-4
