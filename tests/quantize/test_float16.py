from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from pydantic import ValidationError

from lissom.errors import ModelError
from lissom.graph.optimize import Optimize, optimize
from lissom.quantize.float16 import Float16, float16
from lissom.quantize.weight_only import WeightOnly, weight_only
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
    run,
    tensor,
)

X = tensor("x", shape=["n", 32])


def halved(model, **settings) -> ir.Model:
    model = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model
    return checked(float16(model, Float16(**settings), Context()))


def product(weight: np.ndarray, **more) -> ir.Model:
    return opened([node("MatMul", ["x", "w"], "y")], [X], ["y"], {"w": weight, **more})


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_the_runtime_multiplies_by_the_rounded_weights(opset):
    proto = models.mlp(opset=opset)
    feeds = models.feeds(proto)
    model = halved(proto, least_elements=300)
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    first, second = (
        arrays[name].astype(np.float16).astype(np.float32) for name in ("fc1.weight", "fc2.weight")
    )
    hidden = np.maximum(feeds["input"] @ first + arrays["fc1.bias"], 0)
    truth = hidden @ second + arrays["fc2.bias"]
    np.testing.assert_allclose(run(model, feeds)[0], truth, rtol=1e-5, atol=1e-5)
    dtypes = sorted(v.dtype.name for v in model.graph.initializers.values())
    assert dtypes == ["FLOAT", "FLOAT", "FLOAT16", "FLOAT16"]


def test_the_weights_take_half_the_bytes():
    model = halved(product(draw(32, 64)))
    assert sum(v.const_value.nbytes for v in model.graph.initializers.values()) == 32 * 64 * 2


@pytest.mark.parametrize(
    ("scale", "stays"), [(1.0, False), (6e4, False), (7e4, True), (7e-5, False), (5e-5, True)]
)
def test_values_outside_the_range_of_float16_stay_float32(scale, stays):
    weight = np.linspace(-1, 1, 32 * 64, dtype=np.float32).reshape(32, 64) * np.float32(scale)
    other = {"other": draw(32, 64)}
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("MatMul", ["x", "other"], "b"),
        node("Add", ["a", "b"], "y"),
    ]
    model = halved(opened(nodes, [X], ["y"], {"w": weight, **other}))
    assert ("w" in model.graph.initializers) == stays
    x = draw(3, 32, seed=1)
    only = run(model, {"x": x})[0] - x @ draw(32, 64).astype(np.float16).astype(np.float32)
    largest = np.abs(x @ weight).max()
    np.testing.assert_allclose(only, x @ weight, atol=1e-3 * largest + 1e-4)


def test_a_weight_of_zeros_is_stored_exactly():
    model = halved(product(np.zeros((32, 64), np.float32)))
    assert (run(model, {"x": draw(3, 32)})[0] == 0).all()


def test_weights_that_are_returned_overridden_or_small_stay():
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("MatMul", ["x", "default"], "b"),
        node("MatMul", ["x", "returned"], "c"),
        node("Sum", ["a", "b", "c", "bias"], "y"),
    ]
    names = ("w", "default", "returned")
    shape = [32, 64]
    model = opened(
        nodes,
        [X, tensor("default", shape=shape)],
        ["y", tensor("returned", shape=shape)],
        {name: draw(32, 64, seed=i) for i, name in enumerate(names)} | {"bias": draw(64)},
    )
    model = halved(model)
    assert set(model.graph.initializers) == {"w_float16", "default", "returned", "bias"}


def test_a_branch_reads_the_widened_weight():
    body = branching([node("MatMul", ["x", "w"], "y_then")], [node("Relu", ["x"], "y_else")], "y")
    weight = draw(32, 32)
    model = halved(opened([body], [X, FLAG], [tensor("y", shape=["n", 32])], {"w": weight}))
    x = draw(3, 32, seed=1)
    found = run(model, {"x": x, "flag": np.array(True)})[0]
    rounded = weight.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(found, x @ rounded, rtol=1e-4, atol=1e-5)


def test_optimizing_afterwards_does_not_undo_it():
    model = optimize(halved(product(draw(32, 64))), Optimize(), Context())
    assert ops(model) == ["Cast", "MatMul"]
    assert [v.dtype.name for v in model.graph.initializers.values()] == ["FLOAT16"]


def test_scales_of_quantized_layers_keep_their_digits():
    model = weight_only(product(draw(32, 1024)), WeightOnly(), Context())
    with pytest.raises(ModelError, match="nothing to quantize"):
        halved(model)


def test_nothing_to_store():
    for model in (models.mlp(hidden=4), product(draw(32, 64).astype(np.float32)[:, :2])):
        with pytest.raises(ModelError, match="1024 elements") as caught:
            halved(model)
        assert "least_elements" in caught.value.fix
    with pytest.raises(ValidationError):
        Float16(least_elements=0)


def test_the_same_bytes_twice():
    first, second = (halved(models.depthwise(), least_elements=100) for _ in range(2))
    assert bytes_of(first) == bytes_of(second)
