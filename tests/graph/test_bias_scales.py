from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from lissom.batches import Batches
from lissom.graph.bias_scales import FEWEST, fold_products
from lissom.graph.edit import constant_of
from lissom.graph.optimize import Optimize, optimize
from lissom.onnx_file import read_onnx, write_onnx
from lissom.quantize.static import Static, static
from lissom.targets.fusion import read_back
from lissom.technique import Context
from tests.graph.small import bytes_of, draw, node, opened, reference, run, tensor

WIDE = 2 * FEWEST


def quantized(channels: int, **settings):
    """Two convolutions with biases, the second with a product of scales of its own."""
    nodes = [
        node("Conv", ["x", "w", "b"], "a", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "v", "c"], "z", pads=[1, 1, 1, 1]),
        node("Relu", ["z"], "p"),
        node("GlobalAveragePool", ["p"], "y"),
    ]
    constants = {
        "w": draw(channels, 8, 3, 3, scale=0.2),
        "b": draw(channels, seed=1),
        "v": draw(channels, channels, 3, 3, seed=2, scale=0.1),
        "c": draw(channels, seed=3),
    }
    x = draw(2, 8, 6, 6, seed=4)
    model = opened(nodes, [tensor("x", shape=["n", 8, 6, 6])], ["y"], constants, opset=21)
    truth = reference(model, {"x": x})[0]
    context = Context(calibration=Batches.of([{"x": x}] * 4))
    return static(model, Static(**settings), context), {"x": x}, truth


def float_vectors(model) -> int:
    arrays = (constant_of(value) for value in model.graph.initializers.values())
    return sum(each.dtype == np.float32 and each.ndim == 1 for each in arrays)


@pytest.mark.parametrize("settings", [{}, {"rounding": "learned"}, {"weight_bits": 3}])
def test_a_bias_scale_is_not_stored_and_the_kernels_are_those_of_stored_ones(tmp_path, settings):
    model, feeds, truth = quantized(WIDE, **settings)
    assert float_vectors(model) == 2
    write_onnx(model, tmp_path / "m.onnx")
    fates = read_back(tmp_path / "m.onnx").fates
    assert [each.kernel for each in fates if each.op_type == "Conv"] == ["QLinearConv"] * 2
    found = run(model, feeds)[0]
    fold_products(model)
    assert float_vectors(model) == 4
    assert [each.op_type for each in model.graph if each.op_type == "Mul"] == []
    np.testing.assert_array_equal(run(model, feeds)[0], found)
    coarse = settings.get("weight_bits", 8) < 8
    assert np.abs(found - truth).max() <= (0.6 if coarse else 0.05) * np.abs(truth).max()


def test_folding_constants_leaves_them_computed():
    model, feeds, _ = quantized(WIDE)
    before, size = run(model, feeds)[0], len(bytes_of(model))
    again = optimize(model, Optimize(), Context())
    assert float_vectors(again) == 2 and len(bytes_of(again)) <= size
    np.testing.assert_array_equal(run(again, feeds)[0], before)


def test_few_channels_keep_their_scales():
    """A node takes more room than they do."""
    model, _, _ = quantized(FEWEST // 2)
    assert float_vectors(model) == 4


def test_zero_points_of_one_length_are_one_tensor():
    model, _, _ = quantized(WIDE)
    zeros = [v for v in model.graph.initializers.values() if not constant_of(v).any()]
    vectors = [(constant_of(v).dtype.name, v.shape) for v in zeros if constant_of(v).ndim == 1]
    assert sorted(kind for kind, _ in vectors) == ["int32", "int8"]


def test_a_file_with_computed_scales_reads_back(tmp_path):
    model, feeds, _ = quantized(WIDE)
    write_onnx(model, tmp_path / "m.onnx")
    again = read_onnx(tmp_path / "m.onnx")
    np.testing.assert_array_equal(run(again, feeds)[0], run(model, feeds)[0])


@pytest.mark.parametrize(("one", "other"), [((30_000, 1), (1, 30_000)), ((3,), (4,))])
def test_a_foreign_product_of_two_vectors_is_left_alone(one, other):
    """It may be as large as its author likes, or no product at all."""
    nodes = [
        node("Mul", ["a", "b"], "scale"),
        node("DequantizeLinear", ["codes", "scale"], "y"),
    ]
    constants = {"a": np.ones(one, np.float32), "b": np.ones(other, np.float32)}
    codes = [tensor("codes", TensorProto.INT8, [3])]
    model = ir.from_proto(
        helper.make_model(
            helper.make_graph(
                nodes, "g", codes, [tensor("y")],
                [numpy_helper.from_array(array, name) for name, array in constants.items()],
            )
        )
    )  # fmt: skip
    fold_products(model)
    assert [each.op_type for each in model.graph] == ["Mul", "DequantizeLinear"]
