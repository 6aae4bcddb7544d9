from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.graph.weights import embeddings, is_kept_out, linear_weight, linear_weights
from tests.graph.small import draw, node, opened, tensor

X = tensor("x", shape=["n", 4])
W = draw(4, 5)


def layers(nodes, constants, inputs=(X,), outputs=("y",)):
    return list(linear_weights(opened(nodes, inputs, outputs, constants).graph))


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_matrix_is_given_as_inputs_by_outputs(transposed):
    stored = W.T if transposed else W
    (found,) = layers(
        [node("Gemm", ["x", "w", "b"], "y", transB=transposed)], {"w": stored, "b": draw(5)}
    )
    assert found.transposed == bool(transposed)
    assert found.bias.name == "b"
    np.testing.assert_array_equal(found.matrix(), W)


def test_a_matmul_with_a_transposed_table_is_a_layer():
    nodes = [node("Transpose", ["w"], "wt", perm=[1, 0]), node("MatMul", ["x", "wt"], "y")]
    (found,) = layers(nodes, {"w": W.T})
    assert found.transposed
    assert found.value.name == "w"
    np.testing.assert_array_equal(found.matrix(), W)


def test_a_transpose_that_keeps_the_order_is_not_looked_through():
    nodes = [node("Transpose", ["w"], "wt", perm=[0, 1]), node("MatMul", ["x", "wt"], "y")]
    assert layers(nodes, {"w": W}) == []


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("MatMul", ["w", "x"], "y")], {"w": draw(5, 7)}),
        ([node("MatMul", ["x", "w"], "y")], {"w": draw(2, 4, 5)}),
        ([node("MatMul", ["x", "w"], "y")], {"w": draw(4)}),
        ([node("MatMul", ["x", "w"], "y")], {"w": draw(4, 0)}),
        ([node("MatMul", ["x", "w"], "y")], {"w": W.astype(np.float64)}),
        ([node("MatMul", ["x", "w"], "y")], {"w": W.astype(np.float16)}),
        ([node("Gemm", ["x", "w"], "y", alpha=0.5)], {"w": W}),
        ([node("Gemm", ["x", "w", "b"], "y", beta=0.5)], {"w": W, "b": draw(5)}),
        ([node("Gemm", ["x", "w"], "y", transA=1)], {"w": W}),
        ([node("MatMul", ["x", "x"], "y")], {}),
    ],
)
def test_what_is_no_layer(nodes, constants):
    dtype = next((a.dtype for a in constants.values()), np.dtype(np.float32))
    elements = ir.DataType.from_numpy(dtype).value
    inputs, outputs = [tensor("x", elements)], [tensor("y", elements)]
    graph = opened(nodes, inputs, outputs, constants, check=False).graph
    assert list(linear_weights(graph)) == []


def test_weights_that_the_caller_overrides_or_gets_back_are_left_out():
    nodes = [node("MatMul", ["x", "w"], "y")]
    assert len(layers(nodes, {"w": W})) == 1
    assert layers(nodes, {"w": W}, inputs=[X, tensor("w", shape=[4, 5])]) == []
    assert layers(nodes, {"w": W}, outputs=["y", tensor("w", shape=[4, 5])]) == []


@pytest.mark.parametrize(("axis", "rows", "count"), [(0, 16, 1), (0, 15, 0), (1, 16, 0)])
def test_an_embedding_is_a_gather_of_rows(axis, rows, count):
    ids = tensor("ids", ir.DataType.INT64.value, ["n"])
    gather = node("Gather", ["table", "ids"], "y", axis=axis)
    graph = opened([gather], [ids], ["y"], {"table": draw(rows, 8)}).graph
    assert len(list(embeddings(graph))) == count


def test_globs_keep_out_by_the_name_of_the_node_or_its_weight():
    nodes = [node("Transpose", ["head.w"], "wt"), node("MatMul", ["x", "wt"], "y")]
    matmul = list(opened(nodes, [X], ["y"], {"head.w": W.T}).graph)[1]
    assert linear_weight(matmul) is not None
    assert is_kept_out(matmul, ["head.*"])
    assert is_kept_out(matmul, ["nothing", "y/*"])
    assert not is_kept_out(matmul, ["HEAD.*", "w"])
    assert not is_kept_out(matmul, [])
    matmul.name = None
    assert not is_kept_out(matmul, ["y/*"])
