from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from lissom.graph.edit import Editor, constant_of, only_consumer, tidy
from tests.graph.small import (
    FLAG,
    branching,
    checked,
    draw,
    node,
    opened,
    ops,
    reference,
    run,
    tensor,
)

X = tensor("x", shape=[2, 3])


def relu_twice() -> ir.Model:
    nodes = [node("Relu", ["x"], "a"), node("Neg", ["a"], "b"), node("Relu", ["b"], "y")]
    return opened(nodes, [X], ["y"])


def value(model: ir.Model, name: str) -> ir.Value:
    found = {v.name: v for each in model.graph for v in each.outputs}
    return found.get(name) or model.graph.initializers[name]


@pytest.mark.parametrize("array", [np.float32(2.5), np.zeros((0, 3)), np.arange(6).reshape(2, 3).T])
def test_a_constant_keeps_its_shape_and_values(array):
    model = relu_twice()
    added = Editor(model).constant("c", np.asarray(array))
    assert tuple(added.shape) == np.shape(array)
    np.testing.assert_array_equal(constant_of(added), array)


def test_names_are_free_everywhere_a_reader_could_mistake_them():
    inner = [node("Identity", ["x"], "inner"), node("Relu", ["inner"], "y_then")]
    body = branching(inner, [node("Neg", ["x"], "y_else")], "y")
    model = opened([body], [X, FLAG], ["y"], {"c": draw(2)})
    editor = Editor(model)
    for taken in ("x", "y", "c", "inner", "y_then", "y/If", "inner/Identity"):
        assert editor.free_name(taken) == f"{taken}_2"
    assert editor.free_name("c") == "c_3"
    assert editor.free_name("new") == "new"


def test_an_initializer_of_a_subgraph_keeps_its_name_to_itself():
    shift = helper.make_tensor("shift", TensorProto.FLOAT, [1], [1.0])
    then = helper.make_graph(
        [node("Add", ["x", "shift"], "t")], "then", [], [tensor("t")], initializer=[shift]
    )
    other = helper.make_graph([node("Neg", ["x"], "e")], "else", [], [tensor("e")])
    model = opened(
        [node("If", ["flag"], "y", then_branch=then, else_branch=other)], [X, FLAG], ["y"]
    )
    assert Editor(model).free_name("shift") == "shift_2"


def test_what_can_be_overridden_is_no_constant():
    model = opened(
        [node("Add", ["x", "default"], "s"), node("Add", ["s", "fixed"], "y")],
        [X, tensor("default", shape=[3])],
        ["y"],
        {"default": draw(3), "fixed": draw(3)},
    )
    assert constant_of(model.graph.initializers["default"]) is None
    assert constant_of(value(model, "s")) is None
    assert constant_of(None) is None
    np.testing.assert_array_equal(constant_of(model.graph.initializers["fixed"]), draw(3))


def test_the_only_consumer():
    nodes = [
        node("Relu", ["x"], "one"),
        node("Add", ["one", "x"], "twice"),
        node("Mul", ["twice", "twice"], "y"),
    ]
    model = opened(nodes, [X], ["y"])
    assert only_consumer(value(model, "one")).op_type == "Add"
    assert only_consumer(value(model, "twice")) is None
    assert only_consumer(value(model, "y")) is None


def test_a_returned_value_has_no_only_consumer():
    nodes = [node("Relu", ["x"], "a"), node("Neg", ["a"], "y")]
    assert only_consumer(value(opened(nodes, [X], ["y", "a"]), "a")) is None


def test_a_reader_in_a_branch_is_not_the_only_consumer():
    body = branching([node("Relu", ["a"], "y_then")], [node("Neg", ["x"], "y_else")], "y")
    model = opened([node("Abs", ["x"], "a"), body], [X, FLAG], ["y"])
    assert only_consumer(value(model, "a")) is None


def test_replacing_a_node_keeps_the_name_its_readers_and_the_graph_know():
    model = relu_twice()
    last = list(model.graph)[-1]
    editor = Editor(model)
    (negative,) = editor.node(last, "Abs", [last.inputs[0]], stem="abs")
    editor.replace(last, negative)
    checked(model)
    assert [out.name for out in model.graph.outputs] == ["y"]
    assert model.graph.outputs[0].dtype == ir.DataType.FLOAT
    x = draw(2, 3)
    np.testing.assert_array_equal(run(model, {"x": x})[0], np.maximum(x, 0))


def test_what_the_caller_gives_keeps_its_name():
    model = relu_twice()
    first, _, last = model.graph
    Editor(model).replace(first, first.inputs[0])
    checked(model)
    assert [each.name for each in model.graph.inputs] == ["x"]
    np.testing.assert_array_equal(run(model, {"x": draw(2, 3)})[0], np.maximum(-draw(2, 3), 0))
    with pytest.raises(ValueError, match="'x' cannot be returned as 'y'"):
        Editor(model).replace(last, model.graph.inputs[0])


def test_several_outputs_and_a_foreign_domain():
    model = relu_twice()
    first = next(iter(model.graph))
    editor = Editor(model)
    codes, scale, zero = editor.node(
        first, "DynamicQuantizeLinear", [first.inputs[0]], stem="q", outputs=3
    )
    assert [codes.name, scale.name, zero.name] == ["q_out0", "q_out1", "q_out2"]
    editor.node(first, "Gelu", [first.inputs[0]], stem="gelu", domain="com.other")
    assert model.graph.opset_imports["com.other"] == 1


def test_tidy_drops_what_nothing_reads_and_sorts():
    nodes = [node("Relu", ["x"], "y"), node("Mul", ["x", "unused"], "dead")]
    model = opened(
        nodes,
        [X, tensor("default", shape=[3])],
        ["y", tensor("kept", shape=[3])],
        {"unused": draw(3), "kept": draw(3), "default": draw(3)},
    )
    relu = next(iter(model.graph))
    editor = Editor(model)
    (late,) = editor.node(relu, "Neg", [relu.inputs[0]], stem="late")
    model.graph.remove(late.producer())
    model.graph.append(late.producer())
    relu.replace_input_with(0, late)
    tidy(model)
    assert ops(model) == ["Neg", "Relu"]
    assert set(model.graph.initializers) == {"kept", "default"}
    assert set(model.graph.opset_imports) == {""}
    x = draw(2, 3)
    np.testing.assert_array_equal(reference(checked(model), {"x": x})[0], np.maximum(-x, 0))
