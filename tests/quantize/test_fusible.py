from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from lissom.batches import Batches
from lissom.graph.edit import Editor, tidy
from lissom.onnx_file import write_onnx
from lissom.quantize.fusible import pad_codes, write_fusible
from lissom.quantize.static import Static, static
from lissom.targets.fusion import read_back
from lissom.technique import Context
from tests.graph.small import checked, draw, node, opened, ops, run, tensor

ROWS = [tensor("x", shape=["n", 8])]
IMAGE = [tensor("x", shape=[2, 4, 6, 5])]
LINEAR = {"w": draw(8, 3), "b": draw(3, seed=1)}


def rewritten(nodes, inputs, constants, outputs=("y",), opset: int = 21):
    """The model, and what it gave before."""
    model = opened(nodes, inputs, outputs, constants, opset=opset)
    shape = [2 if size == "n" else size for size in model.graph.inputs[0].shape]
    x = draw(*(int(str(s)) if str(s).isdigit() else 2 for s in shape), seed=2)
    before = run(model, {"x": x}, optimize=False)
    write_fusible(Editor(model))
    tidy(model)
    after = run(checked(model), {"x": x}, optimize=False)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    return model


@pytest.mark.parametrize("operands", [["p", "b"], ["b", "p"]])
def test_a_product_and_its_bias_become_one_gemm_of_the_same_name(operands):
    nodes = [node("MatMul", ["x", "w"], "p"), node("Add", operands, "y")]
    model = rewritten(nodes, ROWS, LINEAR)
    assert ops(model) == ["Gemm"]
    assert model.graph.node(0).name == "p/MatMul"


@pytest.mark.parametrize(
    ("nodes", "inputs", "constants"),
    [
        ([node("MatMul", ["x", "w"], "p"), node("Add", ["p", "p"], "y")], ROWS, LINEAR),
        (
            [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"], "y")],
            ROWS,
            LINEAR | {"b": draw(1)},
        ),
        (
            [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"], "y")],
            [tensor("x", shape=["n", 4, 8])],
            LINEAR,
        ),
        (
            [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"], "y")],
            [tensor("x", shape=[2, 4, 8])],
            LINEAR | {"b": draw(1, 3)},
        ),
    ],
)
def test_other_sums_stay(nodes, inputs, constants):
    assert ops(rewritten(nodes, inputs, {k: constants[k] for k in ("w", "b") if k in
                                         {n for each in nodes for n in each.input}})) == [
        "MatMul", "Add",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "bias", "written"),
    [
        (["n", 8], (1, 3), ["Gemm"]),
        ([2, 8], (2, 3), ["MatMul", "Sum"]),
        ([2, 8], (2, 1), ["MatMul", "Sum"]),
        ([2, 4, 8], (3,), ["MatMul", "Sum"]),
        ([2, 2, 4, 8], (3,), ["MatMul", "Sum"]),
        (["n", 4, 8], (3,), ["MatMul", "Add"]),
        ([2, 4, 8], (1,), ["MatMul", "Add"]),
    ],
)
def test_onnx_runtime_makes_no_float_gemm_of_a_product_and_its_bias(shape, bias, written, tmp_path):
    nodes = [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"], "y")]
    constants = {"w": draw(8, 3), "b": draw(*bias, seed=1)}
    inputs = [tensor("x", shape=shape)]
    assert ops(rewritten(nodes, inputs, constants)) == written
    x = draw(*(2 if size == "n" else size for size in shape))
    model = opened([*nodes, node("Exp", ["y"], "z")], inputs, ["z"], constants, opset=21)
    context = Context(calibration=Batches.of([{"x": x}]))
    write_onnx(static(model, Static(), context), tmp_path / "model.onnx")
    kinds = {f.op_type: f.kind for f in read_back(tmp_path / "model.onnx").fates}
    assert kinds[written[0]] == "integer"


def test_a_kept_product_is_not_touched():
    nodes = [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"], "y")]
    model = opened(nodes, ROWS, ["y"], LINEAR)
    write_fusible(Editor(model), ["p/*"])
    assert ops(model) == ["MatMul", "Add"]


def test_the_rank_of_a_sum_is_that_of_its_larger_operand():
    """Whose shapes are not written down: a Gemm of three axes would be no valid graph."""
    nodes = [
        node("Gemm", ["x", "square"], "a"),
        node("Relu", ["a"], "r"),
        node("Unsqueeze", ["r", "axis"], "u"),
        node("Add", ["r", "u"], "s"),
        node("MatMul", ["s", "w"], "p"),
        node("Add", ["p", "b"], "y"),
    ]
    constants = {**LINEAR, "square": draw(8, 8), "axis": np.array([0])}
    assert "Gemm" not in ops(rewritten(nodes, ROWS, constants))[1:]


def test_the_mean_of_integers_is_no_pooling():
    x = tensor("x", TensorProto.INT32, [2, 4, 6, 5])
    y = tensor("y", TensorProto.INT32)
    mean = node("ReduceMean", ["x", "axes"], "y")
    model = opened([mean], [x], [y], {"axes": np.array([2, 3])}, opset=21)
    write_fusible(Editor(model))
    assert ops(model) == ["ReduceMean"]


@pytest.mark.parametrize(
    ("scale", "zero", "padded"),
    [(0.5, 7, True), (0.25, 7, False), (0.5, 9, False), (0.5, None, False)],
)
def test_only_a_pad_between_codes_of_one_grid_pads_codes(scale, zero, padded):
    """The codes may be another tool's: with other grids, or without a zero point."""
    grids = [["scale", "zero"], ["other", *(["another"] if zero is not None else [])]]
    nodes = [
        node("QuantizeLinear", ["x", *grids[0]], "q"),
        node("DequantizeLinear", ["q", *grids[0]], "d"),
        node("Pad", ["d", "pads"], "p"),
        node("QuantizeLinear", ["p", *grids[1]], "r"),
        node("DequantizeLinear", ["r", *grids[1]], "y"),
    ]
    constants = {
        "scale": np.float32(0.5), "zero": np.uint8(7), "other": np.float32(scale),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    }  # fmt: skip
    if zero is not None:
        constants["another"] = np.uint8(zero)
    model = opened(nodes, IMAGE, ["y"], constants)
    x = draw(2, 4, 6, 5)
    before = run(model, {"x": x}, optimize=False)
    pad_codes(Editor(model))
    tidy(model)
    assert (ops(model).count("QuantizeLinear") == 1) == padded
    np.testing.assert_array_equal(run(checked(model), {"x": x}, optimize=False), before)


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_a_mean_over_the_sides_of_an_image_is_a_pooling(axes):
    kept = [node("ReduceMean", ["x", "axes"], "y")]
    assert ops(rewritten(kept, IMAGE, {"axes": np.array(axes)})) == ["GlobalAveragePool"]
    dropped = [node("ReduceMean", ["x", "axes"], "y", keepdims=0)]
    model = rewritten(dropped, IMAGE, {"axes": np.array(axes)})
    assert ops(model) == ["GlobalAveragePool", "Flatten"]
    old = rewritten([node("ReduceMean", ["x"], "y", axes=axes)], IMAGE, {}, opset=17)
    assert ops(old) == ["GlobalAveragePool"]


def test_other_means_stay():
    for axes, inputs in (([1, 2], IMAGE), ([2, 3], [tensor("x", shape=[2, 3, 4, 5, 6])])):
        mean = [node("ReduceMean", ["x", "axes"], "y")]
        assert ops(rewritten(mean, inputs, {"axes": np.array(axes)})) == ["ReduceMean"]
    assert ops(rewritten([node("ReduceMean", ["x"], "y")], IMAGE, {})) == ["ReduceMean"]
