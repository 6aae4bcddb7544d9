"""Channels made alike before static INT8, and nothing else changed."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from lissom.batches import Batches
from lissom.onnx_file import write_onnx
from lissom.quantize.absorb import absorb_bias
from lissom.quantize.equalize import Equalize, equalize
from lissom.quantize.following import Following
from lissom.quantize.scale_choice import balanced, equalized
from lissom.quantize.static import Static, static
from lissom.quantize.trial import Trial
from lissom.recipe.run import NOTES, Built
from lissom.recipe.run import run as run_recipe
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.technique import Context
from tests.graph.small import checked, draw, node, opened, run, tensor

IMAGE = [tensor("x", shape=["n", 8, 8, 8])]
DATA = [{"x": draw(8, 8, 8, 8, seed=seed)} for seed in range(20, 24)]
UNSEEN = {"x": draw(64, 8, 8, 8, seed=99)}


def context(notes: list[str] | None = None, data=DATA) -> Context:
    heard = [] if notes is None else notes
    return dataclasses.replace(Context(calibration=Batches.of(data)), note=heard.append)


def decibels(model, wanted, feeds) -> float:
    (given,) = run(model, feeds)
    noise = np.square(given - wanted, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(wanted, dtype=np.float64).sum() / max(noise, 1e-30)))


def bottleneck(spread: float, activation: str = "Relu"):
    """Expand, filter depthwise, narrow; some channels of the middle `spread` times the others."""
    uneven = np.ones(24, np.float32)
    uneven[::7] = spread
    ends = {"low": np.float32(0), "high": np.float32(6)} if activation == "Clip" else {}
    nodes = [
        node("Conv", ["x", "w1", "b1"], "a"),
        node(activation, ["a", *ends], "r"),
        node("Conv", ["r", "w2", "b2"], "c", group=24, pads=[1, 1, 1, 1]),
        node(activation, ["c", *ends], "s"),
        node("Conv", ["s", "w3"], "t"),
        node("GlobalAveragePool", ["t"], "y"),
    ]
    constants = {
        "w1": draw(24, 8, 1, 1) * uneven[:, None, None, None],
        "b1": draw(24, seed=1) * uneven,
        "w2": draw(24, 1, 3, 3, seed=2) / 3,
        "b2": draw(24, seed=3) * uneven,
        "w3": draw(16, 24, 1, 1, seed=4) / uneven[:, None, None],
        **ends,
    }
    return opened(nodes, IMAGE, ["y"], constants, opset=21)


def test_planted_channels_no_longer_spoil_the_others():
    """A hundred times the range of the rest: 8 bits leave the rest one or two codes."""
    model, notes = bottleneck(100.0), []
    (wanted,) = run(model, UNSEEN)
    plain = decibels(static(model.clone(), Static(), context()), wanted, UNSEEN)
    healthy = bottleneck(1.0)
    (even,) = run(healthy, UNSEEN)
    best = decibels(static(healthy, Static(), context()), even, UNSEEN)
    equal = equalize(model, Equalize(), context(notes))
    assert decibels(checked(equal), wanted, UNSEEN) > 100
    repaired = decibels(static(equal, Static(), context()), wanted, UNSEEN)
    assert repaired > plain + 10
    assert repaired > best - 6
    assert len(notes) == 1 and notes[0].startswith("equalized 2 of 2 chains")


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_it_is_judged_by_the_width_of_the_weights(bits):
    """What evens out activations is not worth the coarser weights there."""
    model, few = bottleneck(0.2), Static(weight_bits=bits)
    (wanted,) = run(model, UNSEEN)
    told, untold = (
        equalize(model.clone(), Equalize(weight_bits=width), context()) for width in (bits, 8)
    )
    found = [
        decibels(static(each, few, context()), wanted, UNSEEN) for each in (told, untold, model)
    ]
    assert found[0] > found[1] + 1.5
    assert found[0] > found[2] + 6


def test_a_layer_with_a_width_of_its_own_is_judged_by_that():
    """Of a chain's factors those that suit the layer that reads it; all else is the same."""
    found = {}
    for bits in (2, 8):
        model, widths = bottleneck(0.2), {"w3": bits, "w[12]": 8}
        (wanted,) = run(model, UNSEEN)
        few = Static(weight_bits=4, layer_bits=widths)
        for told in ({}, widths):
            settings = Equalize(weight_bits=4 if told else 8, layer_bits=told)
            equal = equalize(model.clone(), settings, context())
            found[bits, bool(told)] = decibels(static(equal, few, context()), wanted, UNSEEN)
    assert found[2, True] > found[2, False] + 1.5
    assert found[8, True] == pytest.approx(found[8, False])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_bits": 2},
        {"weight_bits": 3, "layer_bits": {"w2": 8}},
        {"weight_bits": 4},
        {"weight_bits": 5, "rounding": "learned"},
        {"activations": "int8", "symmetric": True},
    ],
    ids=str,
)
def test_a_trial_quantizes_as_what_follows_does(settings):
    model, notes = bottleneck(1.0), []
    trial = Trial(model, "quantize.static", Following(**settings), context(notes))
    fitted, judged = DATA[::2], DATA[1::2]
    quantized = static(model.clone(), Static(**settings), context(data=fitted))
    errors, power = 0.0, 0.0
    for feeds in judged:
        (wanted,), (given,) = run(model, feeds), run(quantized, feeds)
        errors += float(np.square(given - wanted, dtype=np.float64).sum())
        power += float(np.square(wanted, dtype=np.float64).sum())
    assert trial.noise(model).mean() == pytest.approx(errors / power, rel=1e-3)
    assert notes == []


@pytest.mark.parametrize(("spread", "pays"), [(0.2, True), (2.0, False)])
def test_what_gains_with_the_nearest_codes_must_gain_with_learned_ones(spread, pays):
    model, few = bottleneck(spread), {"weight_bits": 3, "rounding": "learned"}
    (wanted,) = run(model, UNSEEN)
    notes: list[str] = []
    equalize(model.clone(), Equalize(weight_bits=3), context(notes))
    equal = equalize(model.clone(), Equalize(**few), context(notes))
    assert [note.startswith("equalized") for note in notes] == [True, pays]
    found = [
        decibels(static(each.clone(), Static(**few), context()), wanted, UNSEEN)
        for each in (equal, model)
    ]
    assert found[0] > found[1] + 2 if pays else found[0] == found[1]


@pytest.mark.parametrize("method", ["measured", "weights"])
def test_settings_still_know_weights_by_name(method):
    """Constants are replaced by scaled ones."""
    model = bottleneck(100.0)
    before = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    equal = equalize(model, Equalize(method=method), context())
    after = {name: value.const_value.numpy() for name, value in equal.graph.initializers.items()}
    assert {"w1", "w2", "w3"} < after.keys()
    assert not np.allclose(after["w3"], before["w3"])
    kept = static(equal, Static(keep_float=("w3",)), context()).graph.initializers
    np.testing.assert_array_equal(kept["w3"].const_value.numpy(), after["w3"])


def test_the_papers_factors_give_both_layers_the_same_ranges():
    made, read = draw(6, 4) * 2.0 ** np.arange(6)[:, None], draw(3, 6, seed=1)
    numbers = np.arange(1, 7)
    weights = [
        (np.abs(made).astype(np.float64), None, numbers[:, None]),
        (np.abs(read).astype(np.float64), numbers[None, :], None),
    ]
    factors = equalized(weights, 7)
    ranges = np.abs(made).max(axis=1), np.abs(read).max(axis=0)
    np.testing.assert_allclose(factors[1:], np.sqrt(ranges[0] / ranges[1]), rtol=1e-3)
    assert factors[0] == 1


def test_by_weights_alone_the_graph_stays_the_same():
    model, notes = bottleneck(100.0), []
    (wanted,) = run(model, UNSEEN)
    equal = equalize(model, Equalize(method="weights"), context(notes))
    assert decibels(checked(equal), wanted, UNSEEN) > 100
    assert "equalized by weights" in notes[0]


def test_equation_4_at_its_ends():
    reach, pull = np.array([1.0, 10.0]), np.array([0.5, 1.0])
    # All alike, the largest as it was; and weights alike.
    np.testing.assert_allclose(reach / balanced(reach, pull, 1.0), 10)
    weights = pull * balanced(reach, pull, 0.0)
    np.testing.assert_allclose(weights[0], weights[1])


@pytest.mark.parametrize("spread", [1.0, 0.02])
def test_no_channel_crosses_a_clip_that_did_not_before(spread):
    model = bottleneck(spread, "Clip")
    (wanted,) = run(model, DATA[0])
    by_weights = equalize(model.clone(), Equalize(method="weights"), context())
    assert decibels(by_weights, wanted, DATA[0]) > 100
    assert decibels(equalize(model, Equalize(), context()), wanted, DATA[0]) > 100


def test_nothing_to_do_is_said_and_changes_nothing():
    nodes = [
        node("Conv", ["x", "w"], "a"),
        node("Sigmoid", ["a"], "s"),
        node("Conv", ["s", "v"], "y"),
    ]
    constants = {"w": draw(4, 8, 1, 1), "v": draw(2, 4, 1, 1, seed=1)}
    model, notes = opened(nodes, IMAGE, ["y"], constants, opset=21), []
    (before,) = run(model, UNSEEN)
    (after,) = run(equalize(model, Equalize(), context(notes)), UNSEEN)
    np.testing.assert_array_equal(after, before)
    assert notes == ["nothing to equalize: no factor can move from one layer to the next"]


def test_a_graph_without_layers_and_a_single_batch_are_no_trouble():
    model = opened([node("Relu", ["x"], "y")], IMAGE, ["y"], {}, opset=21)
    notes: list[str] = []
    assert equalize(model, Equalize(), context(notes, DATA[:1])) is model
    assert notes[0].startswith("nothing to equalize")
    model = bottleneck(100.0)
    (wanted,) = run(model, UNSEEN)
    plain = decibels(static(model.clone(), Static(), context()), wanted, UNSEEN)
    equal = equalize(model, Equalize(), context(data=DATA[:1]))
    assert decibels(static(equal, Static(), context()), wanted, UNSEEN) > plain + 5


def test_what_does_not_gain_is_left_alone():
    model, notes = bottleneck(1.0), []
    (wanted,) = run(model, UNSEEN)
    plain = decibels(static(model.clone(), Static(), context()), wanted, UNSEEN)
    equal = equalize(model, Equalize(), context(notes))
    assert decibels(static(equal, Static(), context()), wanted, UNSEEN) > plain - 0.3
    assert notes


def test_bias_that_no_relu_cuts_off_moves_on():
    nodes = [
        node("Conv", ["x", "w", "b"], "a", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "v"], "y"),
    ]
    constants = {
        "w": draw(4, 8, 3, 3) / 8, "b": np.array([50, 0, 20, -1], np.float32),
        "v": draw(3, 4, 1, 1, seed=1),
    }  # fmt: skip
    model = opened(nodes, IMAGE, ["y"], constants, opset=21)
    (before,) = run(model, DATA[0])
    assert absorb_bias(model, DATA) == 2
    np.testing.assert_allclose(run(checked(model), DATA[0])[0], before, rtol=1e-4, atol=1e-3)
    biases = [node.inputs[2].const_value.numpy() for node in model.graph if node.op_type == "Conv"]
    assert 0 < biases[0][0] < 10 and biases[0][3] == -1 and np.abs(biases[1]).max() > 10


def test_bias_stays_in_front_of_padding():
    """The zeros around an image would not have it."""
    nodes = [
        node("Conv", ["x", "w", "b"], "a"),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "v"], "y", pads=[1, 1, 1, 1]),
    ]
    constants = {
        "w": draw(4, 8, 1, 1) / 8, "b": np.full(4, 50, np.float32),
        "v": draw(3, 4, 3, 3, seed=1),
    }  # fmt: skip
    assert absorb_bias(opened(nodes, IMAGE, ["y"], constants, opset=21), DATA) == 0


def test_what_it_did_is_kept_beside_its_result(tmp_path):
    path = tmp_path / "model.onnx"
    write_onnx(bottleneck(100.0), path)
    recipe = Recipe(name="one step", steps=(Step(technique="quantize.equalize"),))
    built = run_recipe(recipe, Built(path, "source"), context(), Store(tmp_path / "store"))
    (note,) = json.loads((built.path.parent / NOTES).read_text(encoding="utf-8"))
    assert "equalized 2 of 2 chains" in note
