from __future__ import annotations

import numpy as np
import pytest

from lissom.graph.edit import Editor, tidy
from lissom.quantize.fusible import write_fusible
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
            [tensor("x", shape=[2, 4, 8])],
            LINEAR,
        ),
    ],
)
def test_other_sums_stay(nodes, inputs, constants):
    assert ops(rewritten(nodes, inputs, {k: constants[k] for k in ("w", "b") if k in
                                         {n for each in nodes for n in each.input}})) == [
        "MatMul", "Add",
    ]  # fmt: skip


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
