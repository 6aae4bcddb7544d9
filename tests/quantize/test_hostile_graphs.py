"""Graphs that are right but unusual, through every technique: right answers or a clear refusal."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from lissom.batches import Batches
from lissom.errors import ModelError
from lissom.graph.optimize import Optimize, optimize
from lissom.onnx_file import read_onnx
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.float16 import Float16, float16
from lissom.quantize.mixed import Mixed, mixed
from lissom.quantize.static import Static, static
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
    run,
    tensor,
)

TECHNIQUES = {
    "optimize": (optimize, Optimize()),
    "dynamic": (dynamic, Dynamic()),
    "static": (static, Static()),
    "weight only": (weight_only, WeightOnly(bits=8, embeddings=8, block=16)),
    "float16": (float16, Float16(least_elements=16)),
    "planes of bits": (static, Static(weight_bits=7)),
    "mixed": (mixed, Mixed(default="w7a8")),
}
each_technique = pytest.mark.parametrize("name", TECHNIQUES)
X = tensor("x", shape=["n", 32])
W, V = draw(32, 32, scale=0.2), draw(32, 32, seed=1, scale=0.2)
FEEDS = {"x": draw(16, 32, seed=2)}


def applied(name: str, model, feeds=None) -> ir.Model:
    function, config = TECHNIQUES[name]
    batches = Batches.of([feeds or FEEDS])
    return function(model, config, Context(pair_sums=True, calibration=batches))


def assert_near(found, truth):
    assert [each.shape for each in found] == [each.shape for each in truth]
    for one, other in zip(found, truth, strict=True):
        assert np.abs(one - other).max() <= 0.05 * np.abs(other).max()


@each_technique
def test_nodes_without_names(name):
    model = models.depthwise(opset=13)
    for each in model.graph.node:
        each.name = ""
    feeds = models.feeds(model, 8)
    truth = run(model, feeds)
    assert_near(run(checked(applied(name, ir.from_proto(model), feeds)), feeds), truth)


@each_technique
def test_weights_in_external_data(name, tmp_path):
    model = models.mlp()
    feeds = models.feeds(model, 16)
    path = tmp_path / "model.onnx"
    truth = run(model, feeds)
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights")
    found = applied(name, read_onnx(path), feeds)
    ir.external_data.load_to_model(found)
    assert_near(run(found, feeds), truth)


@each_technique
@pytest.mark.parametrize("flag", [True, False])
def test_a_weight_that_a_branch_reads_too(name, flag):
    then = [node("MatMul", ["h", "w"], "y_then")]
    body = branching(then, [node("MatMul", ["h", "v"], "y_else")], "y")
    nodes = [node("MatMul", ["x", "w"], "m"), node("Relu", ["m"], "h"), body]
    model = opened(nodes, [X, FLAG], [tensor("y", shape=["n", 32])], {"w": W, "v": V})
    feeds = FEEDS | {"flag": np.array(flag)}
    truth = run(model, feeds)
    assert_near(run(checked(applied(name, model, feeds)), feeds), truth)


@each_technique
def test_a_weight_that_a_loop_reads_too(name):
    body = helper.make_graph(
        [node("MatMul", ["state", "w"], "next"), node("Identity", ["go"], "again")],
        "body",
        [
            tensor("step", TensorProto.INT64, []),
            tensor("go", TensorProto.BOOL, []),
            tensor("state", shape=["n", 32]),
        ],
        [tensor("again", TensorProto.BOOL, []), tensor("next", shape=["n", 32])],
    )
    nodes = [node("MatMul", ["x", "w"], "m"), node("Loop", ["times", "", "m"], "y", body=body)]
    constants = {"w": W, "times": np.int64(2)}
    model = opened(nodes, [X], [tensor("y", shape=["n", 32])], constants)
    truth = run(model, FEEDS)
    assert_near(run(checked(applied(name, model)), FEEDS), truth)


@each_technique
def test_returned_values_of_every_kind(name):
    nodes = [
        node("MatMul", ["x", "w"], "h"),
        node("Relu", ["h"], "r"),
        node("MatMul", ["r", "v"], "y"),
        node("Identity", ["r"], "again"),
    ]
    outputs = ["y", "r", "h", "again", tensor("w", shape=[32, 32])]
    model = opened(nodes, [X], outputs, {"w": W, "v": V})
    truth = run(model, FEEDS)
    found = checked(applied(name, model))
    assert [each.name for each in found.graph.outputs] == ["y", "r", "h", "again", "w"]
    assert_near(run(found, FEEDS), truth)
    np.testing.assert_array_equal(run(found, FEEDS)[-1], W)


@each_technique
def test_a_layer_on_an_empty_batch(name):
    nodes = [node("MatMul", ["x", "w"], "y")]
    found = applied(name, opened(nodes, [X], ["y"], {"w": W}))
    if name in ("optimize", "float16", "weight only"):
        assert run(found, {"x": np.zeros((0, 32), np.float32)})[0].shape == (0, 32)
    assert run(found, FEEDS)[0].shape == (16, 32)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@each_technique
def test_other_floats_are_left_alone(name, dtype):
    element = ir.DataType.from_numpy(np.dtype(dtype)).value
    nodes = [node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"], "y")]
    constants = {"w": W.astype(dtype), "b": draw(32).astype(dtype)}
    io = [tensor("x", element, ["n", 32])], [tensor("y", element, ["n", 32])]
    model = opened(nodes, *io, constants)
    feeds = {"x": FEEDS["x"].astype(dtype)}
    truth = run(model, feeds)
    if name != "optimize":
        before = bytes_of(model)
        with pytest.raises(ModelError, match="nothing to quantize"):
            applied(name, model, feeds)
        assert bytes_of(model) == before
    else:
        np.testing.assert_array_equal(run(applied(name, model, feeds), feeds)[0], truth[0])


@each_technique
def test_initializers_that_are_all_overridable(name):
    """So files of the oldest kind are written; what their caller may change is no weight."""
    inputs = [X, tensor("w", shape=[32, 32])]
    model = opened([node("MatMul", ["x", "w"], "y")], inputs, ["y"], {"w": W})
    if name == "optimize":
        found = applied(name, model)
        np.testing.assert_allclose(run(found, FEEDS | {"w": V})[0], FEEDS["x"] @ V, atol=1e-5)
    else:
        with pytest.raises(ModelError, match="nothing to quantize"):
            applied(name, model)


@each_technique
def test_applied_a_second_time(name):
    """A finished model is refused or passed through; it never gets worse."""
    model = ir.from_proto(models.mlp())
    feeds = models.feeds(models.mlp(), 16)
    once = applied(name, model, feeds)
    truth = run(once, feeds)
    try:
        twice = applied(name, once, feeds)
    except ModelError:
        return
    assert_near(run(twice, feeds), truth)


@pytest.mark.parametrize("last", TECHNIQUES)
@each_technique
def test_one_after_another(name, last):
    model = models.two_input()
    feeds = models.feeds(model, 16)
    truth = run(model, feeds)
    found = applied(name, ir.from_proto(model), feeds)
    with contextlib.suppress(ModelError):
        found = applied(last, found, feeds)
    for one, other in zip(run(found, feeds), truth, strict=True):
        assert np.abs(one - other).max() <= 0.1 * np.abs(other).max()
