from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper

from lissom.errors import ModelError
from lissom.graph.edit import constant_of, tidy
from lissom.graph.fold import LARGEST_GROWTH, fold_constants
from lissom.onnx_file import read_onnx
from tests.graph.small import (
    FLAG,
    branching,
    checked,
    draw,
    node,
    opened,
    ops,
    proto,
    reference,
    run,
    tensor,
)

X = tensor("x", shape=["n", 3])


def folded(model: ir.Model) -> ir.Model:
    fold_constants(model)
    tidy(model)
    return checked(model)


def size(model: ir.Model) -> int:
    return sum(v.const_value.nbytes for v in model.graph.initializers.values())


def test_a_chain_of_constants_becomes_one_constant():
    nodes = [
        node("Mul", ["a", "a"], "squared"),
        node("ReduceSum", ["squared"], "sum", keepdims=0),
        node("Sqrt", ["sum"], "norm"),
        node("Div", ["x", "norm"], "y"),
    ]
    model = opened(nodes, [X], ["y"], {"a": draw(3)})
    assert fold_constants(model) == 1
    tidy(checked(model))
    assert ops(model) == ["Div"]
    (constant,) = model.graph.initializers.values()
    assert constant_of(constant).shape == ()
    x = draw(4, 3, seed=1)
    truth = x / np.sqrt((draw(3).astype(np.float64) ** 2).sum())
    np.testing.assert_allclose(run(model, {"x": x})[0], truth, rtol=1e-6)


def test_a_scalar_index_still_takes_an_axis_away():
    nodes = [node("Sub", ["three", "two"], "one"), node("Gather", ["x", "one"], "y", axis=1)]
    constants = {"three": np.int64(3), "two": np.int64(2)}
    model = folded(opened(nodes, [X], ["y"], constants))
    x = draw(4, 3)
    assert ops(model) == ["Gather"]
    np.testing.assert_array_equal(run(model, {"x": x})[0], x[:, 1])


def test_a_long_chain_over_a_large_weight_is_folded():
    nodes = [
        node("Transpose", ["w"], "t", perm=[1, 0]),
        node("Reshape", ["t", "shape"], "r"),
        node("MatMul", ["x", "r"], "y"),
    ]
    weight = draw(300, 300)
    constants = {"w": weight, "shape": np.array([-1, 300])}
    model = folded(opened(nodes, [tensor("x", shape=[2, 300])], ["y"], constants))
    assert ops(model) == ["MatMul"]
    assert size(model) == weight.nbytes
    x = draw(2, 300, seed=1)
    np.testing.assert_allclose(run(model, {"x": x})[0], x @ weight.T, atol=1e-4)


@pytest.mark.parametrize(("rows", "stays"), [(16, False), (LARGEST_GROWTH // 12 + 12, True)])
def test_an_expansion_beyond_the_limit_stays_an_expression(rows, stays):
    nodes = [node("Expand", ["row", "shape"], "wide"), node("Add", ["x", "wide"], "y")]
    constants = {"row": draw(3), "shape": np.array([rows, 3])}
    model = folded(opened(nodes, [tensor("x", shape=[rows, 3])], ["y"], constants))
    assert ("Expand" in ops(model)) == stays
    assert size(model) <= LARGEST_GROWTH + 12 + 16


def test_a_weight_that_is_read_elsewhere_is_not_stored_a_second_time():
    ids = tensor("ids", TensorProto.INT64, ["n"])
    nodes = [
        node("Gather", ["table", "ids"], "found"),
        node("Transpose", ["table"], "t", perm=[1, 0]),
        node("MatMul", ["found", "t"], "y"),
    ]
    table = draw(600, 64)
    model = folded(opened(nodes, [ids], ["y"], {"table": table}))
    assert "Transpose" in ops(model)
    assert size(model) == table.nbytes


def test_leaving_one_expression_out_keeps_the_weight_it_reads():
    """The Transpose alone would pay for itself, but the Expand keeps its weight in the file."""
    nodes = [
        node("Transpose", ["w"], "t", perm=[1, 0]),
        node("Expand", ["w", "shape"], "wide"),
        node("MatMul", ["x", "t"], "a"),
        node("MatMul", ["x", "wide"], "b"),
        node("Add", ["a", "b"], "y"),
    ]
    constants = {"w": draw(200, 200), "shape": np.array([9, 200, 200])}
    model = folded(opened(nodes, [tensor("x", shape=[200, 200])], ["y"], constants))
    assert {"Transpose", "Expand"} <= set(ops(model))


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        (
            [node("DequantizeLinear", ["w", "s", "z"], "r")],
            {"w": np.ones(3, np.int8), "s": np.float32(0.5), "z": np.int8(0)},
        ),
        ([node("Cast", ["w"], "r", to=TensorProto.FLOAT)], {"w": np.ones(3, np.float16)}),
        ([node("RandomNormalLike", ["w"], "r")], {"w": np.ones(3, np.float32)}),
        ([node("Bernoulli", ["w"], "r")], {"w": np.full(3, 0.5, np.float32)}),
    ],
)
def test_stored_weights_and_random_numbers_are_not_frozen(nodes, constants):
    model = opened([*nodes, node("Add", ["x", "r"], "y")], [X], ["y"], constants)
    assert fold_constants(model) == 0
    assert len(ops(model)) == 2


def test_what_the_caller_may_override_is_not_folded():
    nodes = [node("Neg", ["default"], "minus"), node("Add", ["x", "minus"], "y")]
    model = opened(nodes, [X, tensor("default", shape=[3])], ["y"], {"default": draw(3)})
    assert fold_constants(model) == 0
    x, other = draw(2, 3), draw(3, seed=4)
    np.testing.assert_array_equal(run(model, {"x": x, "default": other})[0], x - other)


def test_a_returned_constant_keeps_its_name():
    nodes = [node("Neg", ["c"], "minus"), node("Add", ["x", "minus"], "y")]
    model = folded(opened(nodes, [X], ["y", "minus"], {"c": draw(3)}))
    assert [out.name for out in model.graph.outputs] == ["y", "minus"]
    np.testing.assert_array_equal(run(model, {"x": draw(2, 3)})[1], -draw(3))


def test_a_branch_reads_the_folded_constant():
    nodes = [
        node("Neg", ["c"], "minus"),
        branching([node("Add", ["x", "minus"], "y_then")], [node("Neg", ["x"], "y_else")], "y"),
    ]
    model = folded(opened(nodes, [X, FLAG], ["y"], {"c": draw(3)}))
    assert ops(model) == ["If"]
    x = draw(2, 3)
    feeds = {"x": x, "flag": np.array(True)}
    np.testing.assert_array_equal(run(model, feeds)[0], x - draw(3))


def test_results_that_numpy_cannot_hold_are_left_alone():
    nodes = [
        node("Cast", ["c"], "narrow", to=TensorProto.BFLOAT16),
        node("Cast", ["narrow"], "wide", to=TensorProto.FLOAT),
        node("SequenceConstruct", ["c", "c"], "sequence"),
        node("SequenceAt", ["sequence", "at"], "element"),
        node("Add", ["x", "wide"], "sum"),
        node("Add", ["sum", "element"], "y"),
    ]
    model = opened(nodes, [X], ["y"], {"c": draw(3), "at": np.int64(1)})
    before = run(model, {"x": draw(2, 3)})[0]
    np.testing.assert_array_equal(run(folded(model), {"x": draw(2, 3)})[0], before)
    assert ops(model) == ["Add", "Add"]
    outside = [
        node("SequenceConstruct", ["c", "c"], "sequence"),
        node("SequenceInsert", ["sequence", "x"], "longer"),
        node("SequenceAt", ["longer", "at"], "y"),
    ]
    model = opened(outside, [X], ["y"], {"c": draw(2, 3), "at": np.int64(2)}, check=False)
    assert fold_constants(model) == 0


def test_a_node_with_an_unused_optional_output():
    nodes = [
        node("MaxPool", ["w"], ["pooled", ""], kernel_shape=[2]),
        node("Add", ["x", "pooled"], "y"),
    ]
    model = folded(opened(nodes, [tensor("x", shape=[1, 1, 3])], ["y"], {"w": draw(1, 1, 4)}))
    assert ops(model) == ["Add"]
    truth = np.maximum(draw(1, 1, 4)[..., 1:], draw(1, 1, 4)[..., :-1])
    np.testing.assert_array_equal(run(model, {"x": np.zeros((1, 1, 3), np.float32)})[0], truth)


def test_weights_in_external_data_are_read_where_they_lie(tmp_path):
    nodes = [node("Transpose", ["w"], "t"), node("MatMul", ["x", "t"], "y")]
    weight = draw(50, 3)
    path = tmp_path / "model.onnx"
    model = proto(nodes, [X], ["y"], {"w": weight})
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="w.bin")
    assert (tmp_path / "w.bin").stat().st_size >= weight.nbytes
    read = read_onnx(path)
    assert fold_constants(read) == 1
    tidy(read)
    np.testing.assert_allclose(reference(read, {"x": weight})[0], weight @ weight.T, rtol=1e-6)


def test_a_constant_part_that_the_runtime_refuses_is_an_error_of_the_model():
    nodes = [node("Reshape", ["c", "shape"], "r"), node("Add", ["x", "r"], "y")]
    constants = {"c": draw(3), "shape": np.array([7, 7])}
    model = opened(nodes, [tensor("x", shape=[7, 7])], ["y"], constants, check=False)
    with pytest.raises(ModelError, match="Reshape"):
        fold_constants(model)


def test_a_folded_integer_keeps_its_type():
    nodes = [node("Add", ["a", "a"], "b"), node("Expand", ["x", "b"], "y")]
    model = folded(opened(nodes, [tensor("x", shape=[1])], ["y"], {"a": np.array([2, 3])}))
    (stored,) = ir.to_proto(model).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(stored), [4, 6])
    assert stored.data_type == TensorProto.INT64
