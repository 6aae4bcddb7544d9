from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.quantize.placement import Placement, is_absorbed, place
from tests import models
from tests.graph.small import FLAG, branching, draw, node, opened, tensor

X = tensor("x", shape=[1, 4, 8, 8])
KERNELS = {"w": draw(4, 4, 1, 1), "v": draw(4, 4, 1, 1, seed=1)}


def conv(source: str, target: str, weight: str = "w", **attributes):
    return node("Conv", [source, weight], target, **attributes)


def placed(nodes, outputs=("y",), constants=None, inputs=(X,), **settings) -> Placement:
    constants = KERNELS if constants is None else constants
    return place(opened(nodes, inputs, outputs, constants).graph, **settings)


def names(found: Placement) -> list[str]:
    return [value.name for value in found.tensors]


def layers(found: Placement) -> list[str]:
    return [layer.outputs[0].name for layer in found.layers]


def test_a_network_of_convolutions_is_quantized_from_end_to_end():
    graph = ir.from_proto(models.depthwise()).graph
    found = place(graph)
    assert layers(found) == ["depth", "point", "logits"]
    assert "image" not in names(found)
    assert {"point.active", "pooled", "flat"} <= set(names(found))
    assert "logits" not in names(found)
    assert {a.name: b.name for a, b in found.same_as.items()} == {"flat": "pooled"}


def test_a_convolution_is_quantized_behind_the_activation_its_kernel_absorbs():
    nodes = [
        conv("x", "a"),
        node("Relu", ["a"], "r"),
        conv("r", "b", "v"),
        node("Sigmoid", ["b"], "y"),
    ]
    assert names(placed(nodes)) == ["x", "r", "b"]


def test_a_convolution_whose_result_is_returned_stays_float():
    last = [conv("x", "a"), node("Relu", ["a"], "r"), conv("r", "y", "v")]
    assert layers(placed(last)) == ["a"]
    behind = [conv("x", "a"), node("Relu", ["a"], "y")]
    assert layers(placed(behind)) == []
    assert names(placed(behind)) == []


def test_a_branch_does_not_hide_what_a_convolution_gives():
    body = branching([node("Relu", ["a"], "y_then")], [node("Neg", ["a"], "y_else")], "y")
    assert names(placed([conv("x", "a"), body], inputs=[X, FLAG])) == ["x", "a"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("Add", ["a", "b"], "c")], True),
        ([node("Mul", ["a", "a"], "c")], True),
        ([node("Concat", ["a", "b"], "c", axis=1)], True),
        ([node("AveragePool", ["a"], "c", kernel_shape=[2, 2])], True),
        ([node("MaxPool", ["a"], "c", kernel_shape=[2, 2])], True),
        ([node("Tanh", ["b"], "s"), node("Add", ["a", "s"], "c")], False),
        ([node("Sigmoid", ["b"], "s"), node("Add", ["a", "s"], "c")], True),
        ([node("LeakyRelu", ["a"], "c")], True),
        ([node("Slice", ["a", "from", "until"], "c")], True),
        ([node("Resize", ["a", "", "twice"], "c")], True),
        ([node("Resize", ["a", "", "twice"], "c", mode="linear")], False),
        ([node("Split", ["a"], ["c", "d"], axis=1)], True),
        ([node("Add", ["a", "constant"], "c")], False),
        ([node("Exp", ["a"], "c")], False),
    ],
)
def test_what_joins_in(nodes, expected):
    nodes = [conv("x", "a"), conv("x", "b", "v"), *nodes, node("Sigmoid", ["c"], "y")]
    constants = {
        "constant": draw(1), "from": np.array([0]), "until": np.array([1]),
        "twice": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    used = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in constants.items() if name in used}
    found = placed(nodes, constants=KERNELS | constants)
    assert ("c" in names(found)) == expected


def test_operators_that_move_values_share_parameters_along_a_chain():
    nodes = [
        conv("x", "a"),
        node("MaxPool", ["a"], "p", kernel_shape=[2, 2]),
        node("Transpose", ["p"], "t", perm=[0, 2, 3, 1]),
        node("Sigmoid", ["t"], "y"),
    ]
    found = placed(nodes)
    assert {a.name: b.name for a, b in found.same_as.items()} == {"p": "a", "t": "p"}
    returned = placed(nodes[:3], outputs=["t"])
    assert {a.name for a in returned.same_as} == {"p"}


def test_a_product_gives_integers_only_to_layers():
    w = {"w": draw(8, 8), "v": draw(8, 8)}
    x = [tensor("x", shape=[2, 8])]
    first = node("MatMul", ["x", "w"], "a")
    chain = [first, node("Relu", ["a"], "r"), node("MatMul", ["r", "v"], "y")]
    assert names(placed(chain, constants=w, inputs=x)) == ["x", "r"]
    mixed = [
        first,
        node("MatMul", ["a", "v"], "b"),
        node("Softmax", ["a"], "s"),
        node("Add", ["b", "s"], "y"),
    ]
    found = placed(mixed, constants=w, inputs=x)
    assert names(found) == ["x", "a"]
    assert "a" not in names(placed([*chain[:2], node("Exp", ["r"], "y")], constants=w, inputs=x))
    kept = placed(chain, constants=w, inputs=x, keep_float=["v"])
    assert names(kept) == ["x"]
    assert layers(kept) == ["a"]


@pytest.mark.parametrize(
    ("layer", "constants"),
    [
        (node("Conv", ["x", "w"], "a"), {"w": draw(4, 4, 1, 1).astype(np.float32)[..., None]}),
        (node("Conv", ["x", "w", "b"], "a"), {"w": draw(4, 4, 1, 1)}),
        (node("Gemm", ["x", "w", "b"], "a"), {"w": draw(4, 4)}),
        (node("MatMul", ["c", "w"], "a"), {"c": draw(4, 4), "w": draw(4, 4)}),
        (node("ConvTranspose", ["x", "w"], "a"), {"w": draw(4, 4, 1, 1)}),
    ],
)
def test_layers_without_an_integer_kernel(layer, constants):
    inputs = [tensor("x", shape=None), tensor("b", shape=[4])]
    graph = opened([layer, node("Exp", ["a"], "y")], inputs, ["y"], constants, check=False).graph
    assert place(graph).layers == []


def clip(*bounds) -> ir.Node:
    constants = {f"c{i}": np.float32(b) for i, b in enumerate(bounds) if b is not None}
    inputs = ["x", *("" if b is None else f"c{i}" for i, b in enumerate(bounds))]
    return opened([node("Clip", inputs, "y")], [X], ["y"], constants).graph.node(0)


def test_a_clip_from_zero_is_absorbed():
    assert is_absorbed(clip(0.0, 6.0))
    assert is_absorbed(clip(0.0))
    assert is_absorbed(clip(0.0, None))
    assert not is_absorbed(clip(-1.0, 6.0))
    assert not is_absorbed(clip(None, 6.0))
    assert not is_absorbed(clip())


def test_globs_keep_layers_out():
    graph = ir.from_proto(models.depthwise()).graph
    assert layers(place(graph, ["depth/*", "head.weight"])) == ["point"]


@pytest.mark.parametrize(
    ("weight", "integer"),
    [
        ((32, 3, 3, 3), False),
        ((16, 1, 3, 3), False),
        ((33, 3, 3, 3), True),
        ((16, 3, 5, 5), True),
        ((16, 4, 3, 3), True),
    ],
)
def test_a_small_first_convolution_stays_float(weight, integer):
    x = [tensor("x", shape=[1, weight[1], 8, 8])]
    found = placed(
        [conv("x", "a"), node("Exp", ["a"], "y")], constants={"w": draw(*weight)}, inputs=x
    )
    assert bool(found.layers) == integer


def test_floats_go_on_as_floats_where_they_are_there_anyway():
    """A transformer's residual sum reads what the normalization gives, not its codes."""
    w, x = {"w": draw(8, 8), "v": draw(8, 8)}, [tensor("x", shape=[2, 3, 8])]
    nodes = [
        node("Tanh", ["x"], "t"),
        node("MatMul", ["t", "w"], "a"),
        node("Add", ["a", "t"], "y"),
    ]
    found = placed(nodes, constants=w, inputs=x)
    (value,) = (each for each in found.tensors if each.name == "t")
    assert [use.node.op_type for use in found.takes(value)] == ["MatMul"]
    nodes = [
        conv("x", "a"),
        conv("a", "b", "v"),
        node("Add", ["a", "b"], "c"),
        node("Exp", ["a"], "y"),
    ]
    found = placed(nodes)
    (value,) = (each for each in found.tensors if each.name == "a")
    # A convolution gives codes only.
    assert sorted(use.node.op_type for use in found.takes(value)) == ["Add", "Conv", "Exp"]
