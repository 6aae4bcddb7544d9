from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from lissom.graph.optimize import Optimize, optimize
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

MODELS = {
    "mlp": models.mlp(),
    "mlp, opset 13": models.mlp(opset=13),
    "depthwise": models.depthwise(),
    "two inputs": models.two_input(),
    "two inputs, opset 21": models.two_input(opset=21),
    "encoder": models.encoder(),
}
X = tensor("x", shape=["n", 3])


def optimized(model: onnx.ModelProto | ir.Model, **settings) -> ir.Model:
    model = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model
    return optimize(model, Optimize(**settings), Context())


@pytest.mark.parametrize("name", MODELS)
def test_the_answers_stay(name):
    feeds = models.feeds(MODELS[name])
    (truth,) = reference(MODELS[name], feeds)
    found = checked(optimized(MODELS[name]))
    np.testing.assert_allclose(run(found, feeds)[0], truth, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run(found, feeds, optimize=False)[0], truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_second_time_changes_nothing(name):
    once = optimized(MODELS[name])
    first = bytes_of(once)
    assert bytes_of(optimized(once)) == first
    assert bytes_of(optimized(MODELS[name])) == first


def test_batch_norms_and_identities_are_gone():
    assert "BatchNormalization" not in ops(optimized(models.depthwise()))
    assert "BatchNormalization" in ops(optimized(models.depthwise(), batch_norms=False))
    assert "Identity" not in ops(optimized(models.encoder()))


def test_a_residual_before_a_layer_normalization_becomes_a_sum():
    kept = optimized(models.encoder(), residual_sums=False)
    changed = optimized(models.encoder())
    norms = [each for each in changed.graph if each.op_type == "LayerNormalization"]
    before = [norm.inputs[0].producer().op_type for norm in norms]
    assert before == ["Gather", "Sum", "Sum"]
    # A bias is added to each of the six products of the layer: those stay.
    assert ops(kept).count("Add") - ops(changed).count("Add") == 2
    assert "Sum" not in ops(kept)


def test_constant_nodes_are_lifted_and_folded():
    nodes = [
        node("Constant", [], "two", value_float=2.0),
        node("Constant", [], "three", value_floats=[3.0, 3.0, 3.0]),
        node("Mul", ["two", "three"], "six"),
        node("Mul", ["x", "six"], "y"),
    ]
    model = optimized(opened(nodes, [X], ["y"]))
    assert ops(checked(model)) == ["Mul"]
    np.testing.assert_array_equal(run(model, {"x": draw(2, 3)})[0], 6 * draw(2, 3))
    kept = optimized(opened(nodes, [X], ["y"]), constants=False)
    assert ops(kept) == ["Mul", "Mul"]


def test_repeated_layers_are_computed_once_even_with_a_copy_of_the_weight():
    nodes = [
        node("MatMul", ["x", "w1"], "a"),
        node("MatMul", ["x", "w2"], "b"),
        node("Sub", ["a", "b"], "y"),
    ]
    model = optimized(opened(nodes, [X], ["y"], {"w1": draw(3, 3), "w2": draw(3, 3)}))
    assert ops(model) == ["MatMul", "Sub"]


def test_returned_values_keep_names_and_order():
    nodes = [
        node("Relu", ["x"], "a"),
        node("Identity", ["a"], "b"),
        node("Relu", ["x"], "c"),
        node("Constant", [], "d", value_floats=[1.0, 2.0]),
    ]
    model = optimized(opened(nodes, [X], ["c", "b", "a", tensor("d", shape=[2])]))
    assert [out.name for out in checked(model).graph.outputs] == ["c", "b", "a", "d"]
    x = draw(2, 3)
    *same, constant = run(model, {"x": x})
    for found in same:
        np.testing.assert_array_equal(found, np.maximum(x, 0))
    np.testing.assert_array_equal(constant, [1, 2])


def test_branches_that_read_the_main_graph_stay_right():
    then = [node("MatMul", ["a", "w"], "product"), node("Identity", ["product"], "y_then")]
    nodes = [
        node("Identity", ["x"], "a"),
        node("Constant", [], "half", value_float=0.5),
        branching(then, [node("Mul", ["a", "half"], "y_else")], "y"),
    ]
    model = checked(optimized(opened(nodes, [X, FLAG], ["y"], {"w": draw(3, 3)})))
    x = draw(2, 3, seed=1)
    for flag, truth in ((True, x @ draw(3, 3)), (False, x / 2)):
        found = run(model, {"x": x, "flag": np.array(flag)})[0]
        np.testing.assert_allclose(found, truth, rtol=1e-6)


def test_the_body_of_a_loop_that_reads_the_main_graph_stays_right():
    body = helper.make_graph(
        [
            node("MatMul", ["state", "w"], "next"),
            node("Identity", ["condition"], "again"),
        ],
        "body",
        [
            tensor("step", TensorProto.INT64, []),
            tensor("condition", TensorProto.BOOL, []),
            tensor("state", shape=["n", 3]),
        ],
        [tensor("again", TensorProto.BOOL, []), tensor("next", shape=["n", 3])],
    )
    loop = node("Loop", ["times", "", "x"], "y", body=body)
    model = opened(
        [loop], [X], [tensor("y", shape=["n", 3])], {"w": draw(3, 3), "times": np.int64(3)}
    )
    x = draw(2, 3, seed=1)
    truth = x @ np.linalg.matrix_power(draw(3, 3), 3)
    np.testing.assert_allclose(run(optimized(model), {"x": x})[0], truth, rtol=1e-4)


def test_functions_are_written_out():
    function = helper.make_function(
        "local",
        "Layer",
        ["a", "b"],
        ["c"],
        [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Relu", ["m"], ["c"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        node("Layer", ["x", "w"], "h", domain="local"),
        node("Layer", ["h", "w"], "y", domain="local"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [X],
            [tensor("y", shape=["n", 3])],
            [helper.make_tensor("w", TensorProto.FLOAT, [3, 3], draw(3, 3).ravel())],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)],
        functions=[function],
        ir_version=8,
    )
    found = checked(optimized(model))
    assert sorted(ops(found)) == ["MatMul", "MatMul", "Relu", "Relu"]
    assert not found.functions
    x = draw(2, 3, seed=1)
    w = draw(3, 3)
    truth = np.maximum(np.maximum(x @ w, 0) @ w, 0)
    np.testing.assert_allclose(run(found, {"x": x})[0], truth, rtol=1e-5, atol=1e-6)


def test_what_an_owner_wrote_about_the_model_stays():
    model = models.mlp()
    helper.set_model_props(model, {"classes": "cat,dog"})
    assert dict(optimized(model).metadata_props) == {"classes": "cat,dog"}


def test_a_default_that_the_caller_overrides_still_works():
    nodes = [node("Add", ["x", "default"], "s"), node("Add", ["s", "same"], "y")]
    constants = {"default": draw(3), "same": draw(3)}
    model = optimized(opened(nodes, [X, tensor("default", shape=[3])], ["y"], constants))
    x, other = draw(2, 3, seed=1), draw(3, seed=2)
    np.testing.assert_allclose(
        run(model, {"x": x, "default": other})[0], x + other + draw(3), rtol=1e-6
    )
    np.testing.assert_allclose(run(model, {"x": x})[0], x + 2 * draw(3), rtol=1e-6)
