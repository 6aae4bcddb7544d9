from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto
from pydantic import ValidationError

from lissom.errors import ModelError
from lissom.graph.edit import constant_of
from lissom.graph.optimize import Optimize, optimize
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.technique import Context
from tests import models
from tests.graph.small import (
    FLAG,
    branching,
    bytes_of,
    checked,
    draw,
    node,
    opened,
    ops,
    reference,
    run,
    tensor,
)

X = tensor("x", shape=["n", 16])
W = draw(16, 5)


def quantized(
    model, context: Context | None = None, weight_range: str = "auto", **settings
) -> ir.Model:
    """Without a context: the range that is plain rounding, and exact on every machine."""
    if context is None:
        context, weight_range = Context(), "reduced"
    model = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model
    return checked(dynamic(model, Dynamic(weight_range=weight_range, **settings), context))


def simulated(x: np.ndarray, weight: np.ndarray, limit: int = 63) -> np.ndarray:
    """What dynamic INT8 computes, in plain numpy: integer sums of uint8 times int8."""
    low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    step = (high - low) / np.float32(255)
    zero = np.clip(np.rint(-low / step), 0, 255)
    codes = np.clip(np.rint(x / step) + zero, 0, 255).astype(np.int32)
    scales = np.abs(weight).max(axis=0) / np.float32(limit)
    weights = np.clip(np.rint(weight / scales), -limit, limit).astype(np.int32)
    sums = (codes - int(zero)) @ weights
    return (sums.astype(np.float64) * (np.float64(step) * scales)).astype(np.float32)


def integers(model: ir.Model) -> list[np.ndarray]:
    constants = map(constant_of, model.graph.initializers.values())
    return [array for array in constants if array is not None and array.dtype == np.int8]


@pytest.mark.parametrize("opset", [13, 17, 21, 23])
def test_the_runtime_computes_what_integers_give(opset):
    model = opened([node("MatMul", ["x", "w"], "y")], [X], ["y"], {"w": W}, opset=opset)
    model = quantized(model)
    assert ops(model) == ["DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul"]
    x = draw(7, 16, seed=1)
    np.testing.assert_allclose(run(model, {"x": x})[0], simulated(x, W), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(reference(model, {"x": x})[0], simulated(x, W), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (7, 1), ()])
def test_a_gemm_with_its_bias(transposed, bias):
    constants = {"w": W.T.copy() if transposed else W}
    inputs = ["x", "w"]
    if bias is not None:
        constants["b"] = np.asarray(draw(*bias, seed=3))
        inputs.append("b")
    gemm = node("Gemm", inputs, "y", transB=transposed)
    x = draw(7, 16, seed=1)
    truth = simulated(x, W) + constants.get("b", np.float32(0))
    found = run(quantized(opened([gemm], [X], ["y"], constants)), {"x": x})[0]
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(16,), (3, 16), (2, 3, 16), (2, 1, 3, 16)])
def test_inputs_of_any_rank(shape):
    product = node("MatMul", ["x", "w"], "y")
    model = quantized(opened([product], [tensor("x", shape=shape)], ["y"], {"w": W}))
    x = draw(*shape, seed=1)
    np.testing.assert_allclose(run(model, {"x": x})[0], simulated(x, W), rtol=1e-5, atol=1e-5)


def test_layers_that_read_one_tensor_quantize_it_once_and_shared_weights_are_stored_once():
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("MatMul", ["x", "v"], "b"),
        node("Relu", ["x"], "r"),
        node("MatMul", ["r", "w"], "c"),
        node("Sum", ["a", "b", "c"], "y"),
    ]
    v = draw(16, 5, seed=2)
    model = quantized(opened(nodes, [X], ["y"], {"w": W, "v": v}))
    assert ops(model).count("DynamicQuantizeLinear") == 2
    assert ops(model).count("MatMulInteger") == 3
    assert len(integers(model)) == 2
    x = draw(4, 16, seed=1)
    truth = simulated(x, W) + simulated(x, v) + simulated(np.maximum(x, 0), W)
    np.testing.assert_allclose(run(model, {"x": x})[0], truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "pair_sums", "limit"),
    [
        ({}, False, 127),
        ({"weight_range": "full"}, True, 127),
        ({"weight_range": "reduced"}, False, 63),
    ],
)
def test_codes_are_as_wide_as_the_target_computes_exactly(settings, pair_sums, limit):
    model = quantized(models.mlp(), Context(pair_sums=pair_sums), **settings)
    codes = integers(model)
    assert len(codes) == 2
    for array in codes:
        assert np.abs(array.astype(int)).max() == limit
        assert (np.abs(array.astype(int)).max(axis=0) == limit).all()


def test_only_ranges_that_exist_are_accepted():
    for name in ("", "half", 7):
        with pytest.raises(ValidationError):
            Dynamic(weight_range=name)


def test_seven_bits_are_exact_even_where_sums_of_pairs_overflow_sixteen_bits():
    model = opened(
        [node("MatMul", ["x", "w"], "y")], [X], ["y"], {"w": np.ones((16, 5), np.float32)}
    )
    x = np.ones((4, 16), np.float32)
    np.testing.assert_allclose(run(quantized(model), {"x": x})[0], 16.0, rtol=1e-6)


def test_globs_keep_layers_float():
    assert ops(quantized(models.mlp(), keep_float=["fc1.*"])).count("MatMulInteger") == 1
    kept = quantized(models.mlp(), keep_float=["fc2.product/MatMul"])
    assert ops(kept).count("MatMul") == 1
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantized(models.mlp(), keep_float=["*"])


def test_weights_that_are_returned_or_can_be_overridden_stay_as_they_are():
    nodes = [node("MatMul", ["x", "w"], "a"), node("MatMul", ["a", "v"], "y")]
    v = draw(5, 4, seed=2)
    default = [X, tensor("w", shape=[16, 5])]
    model = quantized(opened(nodes, default, ["y"], {"w": W, "v": v}))
    assert ops(model).count("MatMul") == 1
    x, other = draw(3, 16, seed=1), draw(16, 5, seed=9)
    for given, weight in (({"w": other}, other), ({}, W)):
        found = run(model, {"x": x, **given})[0]
        np.testing.assert_allclose(found, simulated(x @ weight, v), rtol=1e-4, atol=1e-4)
    returned = ["y", tensor("w", shape=[16, 5])]
    model = quantized(opened(nodes, [X], returned, {"w": W, "v": v}))
    np.testing.assert_array_equal(run(model, {"x": x})[1], W)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("MatMul", ["w", "x"], "y")], {"w": draw(5, 7)}),
        ([node("MatMul", ["x", "w"], "y")], {"w": draw(2, 16, 5)}),
        ([node("Relu", ["x"], "y")], {}),
    ],
)
def test_nothing_to_quantize(nodes, constants):
    model = opened(nodes, [X], ["y"], constants, check=False)
    before = bytes_of(model)
    with pytest.raises(ModelError, match="nothing to quantize") as caught:
        dynamic(model, Dynamic(), Context())
    assert "quantize.static" in caught.value.fix
    assert bytes_of(model) == before


def test_an_embedding_looks_up_codes_and_scales():
    ids = tensor("ids", TensorProto.INT64, ["n", "s"])
    table = draw(30, 6)
    gather = node("Gather", ["table", "ids"], "y")
    chosen = np.array([[0, 29, 3], [-1, -30, 3]])
    model = quantized(opened([gather], [ids], ["y"], {"table": table}))
    scales = np.abs(table).max(axis=1, keepdims=True) / 127
    truth = np.rint(table / scales) * scales
    np.testing.assert_allclose(run(model, {"ids": chosen})[0], truth[chosen], rtol=1e-5)
    assert max(a.nbytes for a in integers(model)) == table.size
    with pytest.raises(ModelError):
        quantized(opened([gather], [ids], ["y"], {"table": table}), embeddings=False)


def test_a_scalar_index_takes_one_row():
    gather = node("Gather", ["table", "id"], "y")
    table = draw(30, 6)
    id_ = tensor("id", TensorProto.INT64, [])
    model = quantized(opened([gather], [id_], ["y"], {"table": table}))
    found = run(model, {"id": np.array(7)})[0]
    assert found.shape == (6,)
    np.testing.assert_allclose(found, table[7], atol=np.abs(table[7]).max() / 250)


def test_a_table_that_is_looked_up_and_multiplied_by():
    ids = tensor("ids", TensorProto.INT64, ["n"])
    nodes = [
        node("Gather", ["table", "ids"], "found"),
        node("Transpose", ["table"], "t", perm=[1, 0]),
        node("MatMul", ["found", "t"], "y"),
    ]
    table = draw(40, 8)
    model = quantized(opened(nodes, [ids], ["y"], {"table": table}))
    chosen = np.arange(40)
    assert "table" not in model.graph.initializers
    truth = table @ table.T
    assert np.abs(run(model, {"ids": chosen})[0] - truth).max() < 0.05 * np.abs(truth).max()


def test_weights_of_zeros_and_of_numbers_too_small_for_a_scale():
    for weight in (np.zeros((16, 5), np.float32), np.full((16, 5), 1e-42, np.float32)):
        product = node("MatMul", ["x", "w"], "y")
        model = quantized(opened([product], [X], ["y"], {"w": weight}))
        np.testing.assert_allclose(run(model, {"x": draw(3, 16)})[0], 0.0, atol=1e-30)


def test_a_quantized_tensor_that_branches_read_and_the_graph_returns():
    then = [node("MatMul", ["h", "w2"], "y_then")]
    nodes = [
        node("MatMul", ["x", "w"], "h"),
        branching(then, [node("MatMul", ["h", "w2"], "y_else")], "y"),
    ]
    v = draw(5, 4, seed=2)
    model = quantized(opened(nodes, [X, FLAG], ["y", "h"], {"w": W, "w2": v}))
    x = draw(3, 16, seed=1)
    y, h = run(model, {"x": x, "flag": np.array(True)})
    np.testing.assert_allclose(h, simulated(x, W), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y, h @ v, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "two_input", "encoder", "depthwise"])
def test_whole_models_keep_their_answers_and_give_the_same_bytes_twice(name):
    proto = getattr(models, name)()
    feeds = models.feeds(proto, 8)
    (truth,) = reference(proto, feeds)
    model = quantized(optimize(ir.from_proto(proto), Optimize(), Context()))
    assert bytes_of(model) == bytes_of(
        quantized(optimize(ir.from_proto(proto), Optimize(), Context()))
    )
    found = run(model, feeds)[0]
    assert np.abs(found - truth).max() < 0.05 * np.abs(truth).max()
    # Unfused, the operators compute the same.
    np.testing.assert_allclose(run(model, feeds, optimize=False)[0], found, rtol=1e-3, atol=1e-3)
