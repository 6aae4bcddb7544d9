from __future__ import annotations

import numpy as np
import pytest

from lissom.graph.batch_norm import fold_batch_norms
from lissom.graph.edit import tidy
from tests.graph.small import checked, draw, node, opened, ops, reference, run, tensor

NORM = ["scale", "shift", "mean", "var"]


def parameters(channels: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "scale": rng.uniform(0.5, 2, channels).astype(np.float32),
        "shift": rng.normal(size=channels).astype(np.float32),
        "mean": rng.normal(size=channels).astype(np.float32),
        "var": rng.uniform(0.1, 3, channels).astype(np.float32),
    }


def norm(source: str, target: str = "y", **attributes):
    return node("BatchNormalization", [source, *NORM], target, **attributes)


CONV = {"pads": [1, 1, 1, 1], "strides": [2, 1]}
CASES = {
    "conv": ("Conv", CONV, (6, 4, 3, 3), (2, 4, 8, 8), 6, (6,)),
    "conv without bias": ("Conv", CONV, (6, 4, 3, 3), (2, 4, 8, 8), 6, None),
    "depthwise": ("Conv", {"group": 4}, (8, 1, 3, 3), (2, 4, 8, 8), 8, (8,)),
    "conv 1-D": ("Conv", {"auto_pad": "SAME_UPPER"}, (6, 4, 3), (2, 4, 8), 6, (6,)),
    "conv 3-D": ("Conv", {}, (5, 2, 2, 2, 2), (1, 2, 4, 4, 4), 5, None),
    "transposed conv": ("ConvTranspose", {"strides": [2, 2]}, (4, 6, 3, 3), (2, 4, 5, 5), 6, (6,)),
    "gemm": ("Gemm", {}, (7, 6), (3, 7), 6, (6,)),
    "gemm, transposed": ("Gemm", {"transB": 1}, (6, 7), (3, 7), 6, None),
    "gemm, row bias": ("Gemm", {}, (7, 6), (3, 7), 6, (1, 6)),
    "gemm, scalar bias": ("Gemm", {}, (7, 6), (3, 7), 6, ()),
    "gemm, bias per row": ("Gemm", {}, (7, 6), (3, 7), 6, (3, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_folded_layer_computes_the_same(case):
    kind, attributes, weight, shape, channels, bias = CASES[case]
    constants = {"w": draw(*weight, seed=1), **parameters(channels)}
    if bias is not None:
        constants["b"] = np.asarray(draw(*bias, seed=2))
    layer = node(kind, ["x", "w", *(["b"] if bias is not None else [])], "a", **attributes)
    model = opened(
        [layer, norm("a", epsilon=1e-3)], [tensor("x", shape=list(shape))], ["y"], constants
    )
    x = draw(*shape, seed=3)
    inner = opened(
        [layer],
        [tensor("x", shape=list(shape))],
        ["a"],
        {name: constants[name] for name in ("w", "b") if name in constants},
    )
    along = (1, -1) + (1,) * (len(shape) - 2)
    p = {name: constants[name].astype(np.float64).reshape(along) for name in NORM}
    a = reference(inner, {"x": x})[0].astype(np.float64)
    truth = (a - p["mean"]) / np.sqrt(p["var"] + 1e-3) * p["scale"] + p["shift"]
    assert fold_batch_norms(model) == 1
    tidy(model)
    assert ops(checked(model)) == [kind]
    assert model.graph.outputs[0].name == "y"
    np.testing.assert_allclose(run(model, {"x": x})[0], truth, rtol=1e-4, atol=1e-5)


def conv_then_norm(extra=(), outputs=("y",), *, changed=None, **attributes):
    nodes = [node("Conv", ["x", "w"], "a"), norm("a", **attributes), *extra]
    constants = {"w": draw(6, 4, 3, 3), **parameters(6), **(changed or {})}
    return opened(nodes, [tensor("x", shape=[2, 4, 8, 8])], outputs, constants)


def test_a_layer_that_others_read_keeps_its_norm():
    assert fold_batch_norms(conv_then_norm()) == 1
    assert fold_batch_norms(conv_then_norm([node("Relu", ["a"], "z")], ["y", "z"])) == 0
    assert fold_batch_norms(conv_then_norm(outputs=["y", "a"])) == 0


def test_a_norm_that_learns_is_kept():
    assert fold_batch_norms(conv_then_norm(training_mode=0)) == 1
    learning = opened(
        [
            node("Conv", ["x", "w"], "a"),
            node(
                "BatchNormalization",
                ["a", *NORM],
                ["y", "running_mean", "running_var"],
                training_mode=1,
            ),
        ],
        [tensor("x", shape=[2, 4, 8, 8])],
        ["y"],
        {"w": draw(6, 4, 3, 3), **parameters(6)},
    )
    assert fold_batch_norms(learning) == 0
    learning.graph.node(1).resize_outputs(1)
    assert fold_batch_norms(learning) == 0


def test_grouped_transposed_convolutions_and_scaled_gemms_are_kept():
    for kind, attributes, weight, shape, channels in [
        ("ConvTranspose", {"group": 2}, (4, 3, 3, 3), [2, 4, 5, 5], 6),
        ("Gemm", {"alpha": 0.5}, (7, 6), [3, 7], 6),
        ("Gemm", {"beta": 2.0}, (7, 6), [3, 7], 6),
    ]:
        nodes = [node(kind, ["x", "w"], "a", **attributes), norm("a")]
        constants = {"w": draw(*weight), **parameters(channels)}
        assert fold_batch_norms(opened(nodes, [tensor("x", shape=shape)], ["y"], constants)) == 0


def test_two_layers_that_share_a_weight_get_their_own():
    nodes = [
        node("Gemm", ["x", "w"], "a"),
        norm("a", "normed"),
        node("Gemm", ["x", "w"], "b"),
        node("Add", ["normed", "b"], "y"),
    ]
    constants = {"w": draw(7, 6), **parameters(6)}
    model = opened(nodes, [tensor("x", shape=[3, 7])], ["y"], constants)
    x = draw(3, 7, seed=3)
    before = reference(model, {"x": x})[0]
    assert fold_batch_norms(model) == 1
    np.testing.assert_allclose(reference(checked(model), {"x": x})[0], before, atol=1e-5)


def test_a_norm_that_would_give_infinite_weights_is_kept():
    zero = {"var": np.zeros(6, np.float32)}
    assert fold_batch_norms(conv_then_norm(changed=zero)) == 1
    assert fold_batch_norms(conv_then_norm(changed=zero, epsilon=0.0)) == 0


def test_weights_that_are_computed_or_overridden_are_kept():
    constants = {"w": draw(7, 6), **parameters(6)}
    inputs = [tensor("x", shape=[3, 7])]
    nodes = [node("Gemm", ["x", "w"], "a"), norm("a")]
    for name, shape in [("w", [7, 6]), ("mean", [6])]:
        model = opened(nodes, [*inputs, tensor(name, shape=shape)], ["y"], constants)
        assert fold_batch_norms(model) == 0
    biased = [node("Gemm", ["x", "w", "bias"], "a"), norm("a")]
    model = opened(biased, [*inputs, tensor("bias", shape=[6])], ["y"], constants)
    assert fold_batch_norms(model) == 0
