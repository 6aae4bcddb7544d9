"""Outlying channels of activations moved into weights, and nothing else changed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pydantic import ValidationError

from lissom.batches import Batches
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.smooth import Smooth, smooth
from lissom.quantize.static import Static, static
from lissom.technique import Context
from tests.graph.small import checked, draw, node, opened, ops, run, tensor

TOKENS = [tensor("x", shape=["n", 6, 32])]
DATA = [{"x": draw(8, 6, 32, seed=seed)} for seed in range(20, 24)]
UNSEEN = {"x": draw(32, 6, 32, seed=99)}


def context(notes: list[str] | None = None) -> Context:
    heard = [] if notes is None else notes
    return dataclasses.replace(Context(calibration=Batches.of(DATA)), note=heard.append)


def in_static(model):
    return static(model, Static(), context())


def in_dynamic(model):
    return dynamic(model, Dynamic(), context())


def decibels(model, wanted) -> float:
    (given,) = run(model, UNSEEN)
    noise = np.square(given - wanted, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(wanted, dtype=np.float64).sum() / noise))


def encoder(*, residual: bool = False, spread: float = 100.0):
    """A LayerNormalization with a few outlying channels in front of two layers with GELU between.

    With `residual` what is normalized is also added to the result, as in BERT.
    """
    gamma = np.ones(32, np.float32)
    gamma[[3, 17]] = spread
    nodes = [
        node("LayerNormalization", ["x", "gamma", "beta"], "n"),
        node("MatMul", ["n", "w1"], "a"),
        node("Add", ["a", "b1"], "h"),
        node("Gelu", ["h"], "g"),
        node("MatMul", ["g", "w2"], "z" if residual else "y"),
    ]
    if residual:
        nodes.append(node("Sum", ["z", "n"], "s"))
        nodes.append(node("LayerNormalization", ["s", "one"], "y"))
    constants = {
        "gamma": gamma, "beta": draw(32, seed=1) * gamma,
        "w1": draw(32, 64, seed=2) / 8 / gamma[:, None], "b1": draw(64, seed=3),
        "w2": draw(64, 32, seed=4) / 8, "one": np.ones(32, np.float32),
    }  # fmt: skip
    return opened(nodes, TOKENS, ["y"], constants, opset=21)


@pytest.mark.parametrize("following", ["quantize.static", "quantize.dynamic"])
def test_outlying_channels_of_a_layer_norm_go_into_the_weights(following):
    model, notes = encoder(), []
    (wanted,) = run(model, UNSEEN)
    quantize = in_static if following == "quantize.static" else in_dynamic
    plain = decibels(quantize(model.clone()), wanted)
    better = smooth(model, Smooth(multiply=False, before=following), context(notes))
    assert decibels(checked(better), wanted) > 90
    assert "Mul" not in ops(better)
    assert decibels(quantize(better), wanted) > plain + 10
    assert notes[0].startswith("smoothed 1 of 1 chains") and "0 products added" in notes[0]


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_it_is_judged_by_the_width_of_the_weights(bits):
    model, few = encoder(), Static(weight_bits=bits)
    (wanted,) = run(model, UNSEEN)
    told, untold = (
        decibels(static(smooth(model.clone(), config, context()), few, context()), wanted)
        for config in (Smooth(weight_bits=bits), Smooth())
    )
    assert told > untold + 0.1
    assert told > decibels(static(model, few, context()), wanted) + 5


@pytest.mark.parametrize("width", [{"weight_bits": 4}, {"layer_bits": {"w1": 3}}])
def test_dynamic_int8_has_no_weights_of_fewer_bits(width):
    with pytest.raises(ValidationError, match="weights of 8 bits"):
        Smooth(before="quantize.dynamic", **width)


def test_a_product_is_added_only_where_no_fold_is_free_and_only_if_allowed():
    model, notes = encoder(residual=True), []
    (wanted,) = run(model, UNSEEN)
    plain = decibels(in_static(model.clone()), wanted)
    left = smooth(model.clone(), Smooth(multiply=False), context(notes))
    assert ops(left) == ops(model) and notes[0].startswith("nothing")
    better = smooth(model, Smooth(), context())
    assert ops(better).count("Mul") >= 1
    assert decibels(checked(better), wanted) > 90
    assert decibels(in_static(better), wanted) > plain + 6


def test_nothing_to_do_is_said_and_changes_nothing():
    model = opened([node("MatMul", ["x", "w"], "y")], TOKENS, ["y"], {"w": draw(32, 4)}, opset=21)
    notes: list[str] = []
    assert smooth(model, Smooth(), context(notes)) is model
    assert notes == ["nothing to smooth: no matrix product reads channels that can be scaled"]


def test_alphas_are_shares():
    with pytest.raises(ValidationError, match="between 0 and 1"):
        Smooth(alphas=(0.5, 1.5))
