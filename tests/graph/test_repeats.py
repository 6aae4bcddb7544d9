from __future__ import annotations

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

from lissom.graph.edit import tidy
from lissom.graph.repeats import drop_identities, merge_initializers
from tests.graph.small import FLAG, branching, checked, draw, node, opened, ops, run, tensor

X = tensor("x", shape=["n", 3])


def returned(model) -> list[str]:
    return [out.name for out in model.graph.outputs]


def test_readers_of_an_identity_read_its_input():
    nodes = [
        node("Identity", ["x"], "a"),
        node("Identity", ["w"], "b"),
        node("Add", ["a", "b"], "sum"),
        node("Identity", ["sum"], "y"),
    ]
    model = opened(nodes, [X], ["y"], {"w": draw(3)})
    assert drop_identities(model) == 3
    assert ops(checked(model)) == ["Add"]
    assert returned(model) == ["y"]
    x = draw(2, 3, seed=1)
    np.testing.assert_array_equal(run(model, {"x": x})[0], x + draw(3))


def test_every_returned_name_stays():
    nodes = [
        node("Relu", ["x"], "a"),
        node("Identity", ["a"], "y"),
        node("Identity", ["a"], "z"),
        node("Identity", ["x"], "same"),
        node("Identity", ["w"], "weight"),
    ]
    names = ["a", "y", "z", "same", tensor("weight", shape=[3])]
    model = opened(nodes, [X], names, {"w": draw(3)})
    before = run(model, {"x": draw(2, 3)})
    drop_identities(model)
    assert returned(checked(model)) == ["a", "y", "z", "same", "weight"]
    for old, new in zip(before, run(model, {"x": draw(2, 3)}), strict=True):
        np.testing.assert_array_equal(old, new)


def test_one_of_two_returned_names_for_a_value_takes_its_place():
    nodes = [node("Relu", ["x"], "a"), node("Identity", ["a"], "y"), node("Identity", ["a"], "z")]
    model = opened(nodes, [X], ["y", "z"])
    assert drop_identities(model) == 1
    assert returned(checked(model)) == ["y", "z"]
    first, second = run(model, {"x": draw(2, 3)})
    np.testing.assert_array_equal(first, second)


def test_a_branch_that_returns_a_value_from_outside_is_left_alone():
    body = branching([node("Identity", ["a"], "y_then")], [node("Neg", ["a"], "y_else")], "y")
    model = opened([node("Relu", ["x"], "b"), node("Identity", ["b"], "a"), body], [X, FLAG], ["y"])
    assert drop_identities(model) == 1
    tidy(checked(model))
    x = draw(2, 3)
    for flag, sign in ((True, 1), (False, -1)):
        found = run(model, {"x": x, "flag": np.array(flag)})[0]
        np.testing.assert_array_equal(found, sign * np.maximum(x, 0))


def test_equal_initializers_are_kept_once_however_large():
    nodes = [
        node("MatMul", ["x", "w1"], "a"),
        node("MatMul", ["x", "w2"], "b"),
        node("MatMul", ["x", "w3"], "c"),
        node("Sum", ["a", "b", "c"], "y"),
    ]
    weight = draw(3, 2000)
    constants = {"w1": weight, "w2": weight.copy(), "w3": weight + 1}
    model = opened(nodes, [X], ["y"], constants)
    before = run(model, {"x": draw(2, 3)})[0]
    assert merge_initializers(model) == 1
    assert set(model.graph.initializers) == {"w1", "w3"}
    np.testing.assert_allclose(run(checked(model), {"x": draw(2, 3)})[0], before, rtol=1e-6)


def test_equal_bytes_of_another_type_or_shape_are_another_initializer():
    constants = {
        "zeros": np.zeros(2, np.float32),
        "row": np.zeros((1, 2), np.float32),
        "ints": np.zeros(2, np.int32),
        "minus": -np.zeros(2, np.float32),
        "bfloat": np.zeros(2, ml_dtypes.bfloat16),
        "bfloat again": np.zeros(2, ml_dtypes.bfloat16),
    }
    model = opened([node("Relu", ["x"], "y")], [X], ["y"], constants)
    assert merge_initializers(model) == 1
    assert "bfloat again" not in model.graph.initializers


def test_overridable_returned_and_text_initializers_stay():
    constants = {name: draw(3) for name in ("default", "plain", "out")}
    texts = [helper.make_tensor(n, TensorProto.STRING, [1], [b"a"]) for n in ("t1", "t2")]
    model = opened(
        [node("Sum", ["x", "default", "plain", "out"], "y")],
        [X, tensor("default", shape=[3])],
        ["y", tensor("out", shape=[3])],
        constants,
    )
    for text in texts:
        model.graph.register_initializer(_text(text))
    assert merge_initializers(model) == 0


def _text(proto):
    import onnx_ir as ir

    tensor_ = ir.from_proto(proto)
    return ir.Value(name=proto.name, const_value=tensor_, type=ir.TensorType(tensor_.dtype))
