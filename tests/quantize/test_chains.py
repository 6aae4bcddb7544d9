"""Factors that move through a graph must not change what it computes."""

from __future__ import annotations

import numpy as np
import pytest

from lissom.graph.edit import Editor, tidy
from lissom.quantize.chains import find_chains, rescale
from lissom.quantize.scale_samples import shapes_seen
from tests.graph.small import FLAG, branching, checked, draw, node, opened, run, tensor

IMAGE = [tensor("x", shape=[2, 4, 6, 6])]
ROWS = [tensor("x", shape=["n", 8])]
TOKENS = [tensor("x", shape=[2, 5, 8])]
CONV = {"w1": draw(6, 4, 3, 3), "b1": draw(6, seed=1), "w2": draw(5, 6, 1, 1, seed=2)}


def moved(nodes, inputs, constants, outputs=("y",), **more):
    """How many layers read scaled channels, after all that can move was moved at random."""
    model = opened(nodes, inputs, outputs, constants, opset=21, **more)
    shape = [3 if str(size) == "n" else size for size in model.graph.inputs[0].shape]
    feeds = {"x": draw(*shape, seed=9)}
    feeds |= {value.name: np.array(True) for value in model.graph.inputs if value.name == "flag"}
    before = run(model, feeds, optimize=False)
    chains = find_chains(model, shapes_seen(model, [feeds]))
    factors = np.exp2(np.random.default_rng(3).uniform(-6, 6, chains.count))
    factors[0] = 1.0
    rescale(Editor(model), chains, factors)
    tidy(model)
    for one, other in zip(before, run(checked(model), feeds, optimize=False), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4 * np.abs(one).max())
    return sum(len(group) for group in chains.groups())


def conv(source, weight, result, bias=None, **attributes):
    return node("Conv", [source, weight, *([bias] if bias else [])], result, **attributes)


@pytest.mark.parametrize(
    "between",
    [
        [node("Relu", ["a"], "r")],
        [node("LeakyRelu", ["a"], "r", alpha=0.1)],
        [node("PRelu", ["a", "slope"], "r")],
        [node("MaxPool", ["a"], "r", kernel_shape=[2, 2])],
        [node("AveragePool", ["a"], "r", kernel_shape=[2, 2])],
        [node("Identity", ["a"], "r")],
        [node("Pad", ["a", "pads"], "p"), node("Slice", ["p", "one", "two", "sides"], "r")],
        [node("Add", ["a", "shift"], "s"), node("Relu", ["s"], "r")],
        [node("Mul", ["a", "half"], "r")],
    ],
    ids=lambda nodes: "-".join(each.op_type for each in nodes),
)
def test_positive_factors_pass(between):
    nodes = [conv("x", "w1", "a", "b1"), *between, conv("r", "w2", "y")]
    more = {
        "slope": draw(6, 1, 1, seed=4), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "one": np.array([1, 1]), "two": np.array([5, 5]), "sides": np.array([2, -1]),
        "shift": draw(6, 1, 1, seed=5), "half": np.float32(0.5),
    }  # fmt: skip
    assert moved(nodes, IMAGE, CONV | more) == 1


def test_a_depthwise_layer_takes_factors_on_both_sides():
    nodes = [
        conv("x", "w1", "a", "b1"),
        node("Relu", ["a"], "r"),
        conv("r", "deep", "d", group=6),
        conv("d", "w2", "y"),
    ]
    assert moved(nodes, IMAGE, CONV | {"deep": draw(6, 1, 3, 3, seed=6)}) == 2


def test_a_grouped_layer_and_a_classifier_behind_pixels():
    nodes = [
        conv("x", "w1", "a", "b1"),
        conv("a", "grouped", "g", group=2),
        node("Flatten", ["g"], "f"),
        node("Gemm", ["f", "w"], "y"),
    ]
    constants = CONV | {"grouped": draw(4, 3, 1, 1, seed=6), "w": draw(64, 3, seed=7)}
    assert moved(nodes, IMAGE, constants) == 2


def test_a_residual_stream_is_scaled_as_one():
    """With a shortcut that drops pixels and adds channels of zeros, as in CIFAR ResNets."""
    nodes = [
        conv("x", "w1", "a", "b1"),
        node("Relu", ["a"], "r"),
        conv("r", "w3", "c", pads=[1, 1, 1, 1]),
        node("Pad", ["r", "pads"], "p"),
        node("Add", ["c", "p"], "s"),
        conv("s", "w4", "y"),
    ]
    pads = np.array([0, 1, 0, 0, 0, 1, 0, 0])
    more = {"w3": draw(8, 6, 3, 3, seed=6), "w4": draw(3, 8, 1, 1, seed=7), "pads": pads}
    assert moved(nodes, IMAGE, CONV | more) == 2


def test_concatenated_and_split_channels_keep_their_own_factors():
    nodes = [
        conv("x", "w1", "a", "b1"),
        conv("x", "w3", "b"),
        node("Concat", ["a", "b"], "c", axis=1),
        node("Split", ["c", "sizes"], ["d", "e"], axis=1),
        conv("d", "w4", "f"),
        conv("e", "w5", "g"),
        node("Concat", ["f", "g"], "y", axis=1),
    ]
    more = {
        "w3": draw(2, 4, 3, 3, seed=6), "sizes": np.array([5, 3]),
        "w4": draw(2, 5, 1, 1, seed=7), "w5": draw(2, 3, 1, 1, seed=8),
    }  # fmt: skip
    assert moved(nodes, IMAGE, CONV | more) == 2


def attention(order=(0, 2, 1, 3)):
    """Self-attention of two heads of four channels, behind a LayerNormalization."""
    return [
        node("LayerNormalization", ["x", "gamma", "beta"], "n"),
        node("MatMul", ["n", "wv"], "v"),
        node("Add", ["v", "b"], "vb"),
        node("Reshape", ["vb", "heads"], "h"),
        node("Transpose", ["h"], "t", perm=list(order)),
        node("MatMul", ["share", "t"], "m"),
        node("Transpose", ["m"], "u", perm=[0, 2, 1, 3]),
        node("Reshape", ["u", "whole"], "o"),
        node("MatMul", ["o", "wo"], "y"),
    ]


ATTENTION = {
    "gamma": draw(8, seed=1), "beta": draw(8, seed=2), "wv": draw(8, 8, seed=3), "b": draw(8),
    "heads": np.array([0, 0, 2, 4]), "whole": np.array([0, 0, -1]), "wo": draw(8, 8, seed=4),
    "share": draw(2, 2, 5, 5, seed=5),
}  # fmt: skip


def test_factors_move_from_values_through_attention():
    assert moved(attention(), TOKENS, ATTENTION) == 2


def test_a_layer_norm_of_primitive_operators_takes_factors():
    nodes = [
        node("ReduceMean", ["x", "last"], "mean"),
        node("Sub", ["x", "mean"], "d"),
        node("Pow", ["d", "square"], "dd"),
        node("ReduceMean", ["dd", "last"], "var"),
        node("Add", ["var", "eps"], "ve"),
        node("Sqrt", ["ve"], "std"),
        node("Div", ["d", "std"], "n"),
        node("Mul", ["n", "gamma"], "g"),
        node("Add", ["g", "beta"], "h"),
        node("MatMul", ["h", "wv"], "y"),
    ]
    more = {"last": np.array([-1]), "square": np.float32(2), "eps": np.float32(1e-5)}
    assert moved(nodes, TOKENS, ATTENTION | more) == 1


@pytest.mark.parametrize(
    "nodes",
    [
        # Nothing is known of a Sigmoid; a channel that is added to its neighbours cannot be scaled.
        [conv("x", "w1", "a", "b1"), node("Sigmoid", ["a"], "r"), conv("r", "w2", "y")],
        [conv("x", "w1", "a", "b1"), node("Add", ["a", "two"], "r"), conv("r", "w2", "y")],
        [conv("x", "w1", "a", "b1"), node("Clip", ["a", "low"], "r"), conv("r", "w2", "y")],
        [
            conv("x", "w1", "a", "b1"),
            node("Transpose", ["a"], "t", perm=[0, 2, 1, 3]),
            conv("t", "w2", "y"),
        ],
        [
            conv("x", "w1", "a", "b1"),
            node("Reshape", ["a", "mixed"], "t"),
            conv("t", "w2", "y"),
        ],
    ],
    ids=["Sigmoid", "Add", "Clip", "Transpose", "Reshape"],
)
def test_what_factors_do_not_pass_stays(nodes):
    more = {
        "two": np.float32(2), "low": np.float32(-1), "mixed": np.array([2, 4, 6, 4]),
        "w2": draw(5, 4, 1, 1) if nodes[1].op_type in ("Transpose", "Reshape") else CONV["w2"],
    }  # fmt: skip
    assert moved(nodes, IMAGE, CONV | more) == 0


def test_shared_weights_returned_tensors_and_readers_in_branches_stay():
    square = {"w": draw(4, 4, 1, 1), "w2": draw(4, 4, 1, 1, seed=2)}
    twice = [conv("x", "w", "a"), conv("a", "w", "b"), conv("b", "w2", "y")]
    assert moved(twice, IMAGE, square) == 0
    returned = [conv("x", "w", "a"), conv("a", "w2", "y")]
    assert moved(returned, IMAGE, square, outputs=("a", "y")) == 0
    branch = branching([node("Neg", ["a"], "z_then")], [node("Abs", ["a"], "z_else")], "z")
    inner = [conv("x", "w", "a"), branch, conv("a", "w2", "y")]
    assert moved(inner, [*IMAGE, FLAG], square, outputs=("y", "z")) == 0


def test_all_who_read_a_tensor_must_take_its_factors():
    other = {"w3": draw(3, 6, 1, 1, seed=6)}
    nodes = [conv("x", "w1", "a", "b1"), conv("a", "w2", "y"), conv("a", "w3", "z")]
    assert moved(nodes, IMAGE, CONV | other, outputs=("y", "z")) == 2
    nodes[2] = node("Sigmoid", ["a"], "z")
    assert moved(nodes, IMAGE, CONV, outputs=("y", "z")) == 0


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_bias_for_all_channels_takes_no_factors(shape):
    constants = {"w1": draw(8, 6), "b1": np.full(shape, 0.3, np.float32), "w2": draw(6, 5, seed=2)}
    nodes = [
        node("Gemm", ["x", "w1", "b1"], "a"),
        node("Relu", ["a"], "r"),
        node("Gemm", ["r", "w2"], "y"),
    ]
    assert moved(nodes, ROWS, constants) == 0


def test_a_gemm_of_two_activations_passes_nothing():
    square = {"w1": draw(8, 8), "w2": draw(8, 8, seed=1), "w3": draw(8, 5, seed=2)}
    nodes = [
        node("MatMul", ["x", "w1"], "a"),
        node("MatMul", ["x", "w2"], "b"),
        node("Gemm", ["a", "b"], "c", transB=1),
        node("MatMul", ["c", "w3"], "y"),
    ]
    assert moved(nodes, [tensor("x", shape=[8, 8])], square) == 0
