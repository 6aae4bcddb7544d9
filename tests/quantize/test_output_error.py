"""Errors of outputs that hold masks, lose numbers, are labels, or differ in length."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto

from lissom.batches import Batches
from lissom.quantize.output_error import RelativeError, output_errors
from lissom.quantize.smooth import Smooth, smooth
from lissom.quantize.static import Static, static
from lissom.quantize.trial import gain_of
from lissom.technique import Context
from tests.models import Weights, build, node, value

INFINITE = np.float32(np.inf)


def network(end: str, seed: int = 0) -> ir.Model:
    """Six scores of x [batch, 16], the last masked, or the best, or those above zero."""
    weights = Weights(seed)
    weights.draw("hidden.weight", 16, 32, fan_in=16)
    weights.draw("scores.weight", 32, 6, fan_in=32)
    weights.keep("flat", [-1], np.int64)
    weights.keep("zero", 0.0)
    weights.keep("mask", [0, 0, 0, 0, 0, -np.inf])
    nodes = [
        node("MatMul", ["x", "hidden.weight"], "hidden"),
        node("Relu", ["hidden"], "active"),
        node("MatMul", ["active", "scores.weight"], "scores"),
    ]
    output = value("y", TensorProto.FLOAT, "batch", 6)
    if end == "mask":
        nodes.append(node("Add", ["scores", "mask"], "y"))
    elif end == "label":
        nodes.append(node("ArgMax", ["scores"], "y", axis=1, keepdims=0))
        output = value("y", TensorProto.INT64, "batch")
    else:
        nodes += [
            node("Greater", ["scores", "zero"], "above"),
            node("Reshape", ["above", "flat"], "kept"),
            node("Reshape", ["scores", "flat"], "all"),
            node("Compress", ["all", "kept"], "y"),
        ]
        output = value("y", TensorProto.FLOAT, "found")
    inputs = [value("x", TensorProto.FLOAT, "batch", 16)]
    return ir.from_proto(build(end, nodes, inputs, output, weights, 17))


def batches(count: int = 4) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(8, 16)).astype(np.float32)} for _ in range(count)]


def doubled(model: ir.Model, name: str, factor: float = 2.0) -> ir.Model:
    other = model.clone()
    weight = other.graph.initializers[name]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(np.float32(factor) * weight.const_value.numpy(), name=name)
    return other


@pytest.mark.parametrize("end", ["mask", "label", "list"])
def test_an_output_of_any_kind_has_the_error_of_the_scores_behind_it(end: str) -> None:
    model = network(end)
    found = output_errors(model, [model, doubled(model, "scores.weight")], batches())
    # Twice the signal is off by the signal; a masked class counts for nothing.
    assert found == pytest.approx([0.0, 1.0], rel=1e-6)


def test_numbers_that_are_lost_are_an_infinite_error() -> None:
    model = network("mask")
    with np.errstate(over="ignore"):
        bad = doubled(model, "scores.weight", np.inf)
    assert output_errors(model, [model, bad], batches()) == [0.0, math.inf]


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_what_is_masked_and_what_is_lost(lost: float) -> None:
    truth = np.array([1.0, 2.0, -INFINITE, np.finfo(np.float32).min, np.nan], np.float32)
    for last, error in ((3.0, 0.2), (lost, math.inf)):
        sums = RelativeError()
        sums.add(truth, np.array([1.0, last, lost, 0.0, lost], np.float32))
        assert sums.count == 2
        assert sums.relative == pytest.approx(error)
    empty = RelativeError()
    empty.add(truth[2:], truth[2:])
    empty.add(truth, truth[:3])
    assert math.isnan(empty.relative)


@pytest.mark.parametrize("end", ["label", "list"])
def test_learned_codes_are_judged_by_the_scores(end: str) -> None:
    context = Context(calibration=Batches.of(batches()))
    model = network(end)
    results = [
        static(model.clone(), Static(weight_bits=3, rounding=rounding), context)
        for rounding in ("nearest", "learned")
    ]
    nearest, learned = output_errors(model, results, batches())
    assert 0 < learned < 0.9 * nearest < 0.5


def test_smoothing_is_judged_where_the_boxes_found_differ_in_number() -> None:
    model = network("list")
    scale = np.ones(16, np.float32)
    scale[3] = 40.0
    data = [{"x": batch["x"] * scale} for batch in batches()]
    notes: list[str] = []
    context = Context(calibration=Batches.of(data), note=notes.append)
    smooth(model, Smooth(weight_bits=4), context)
    assert len(notes) == 1
    assert "smooth" in notes[0]


def test_what_loses_numbers_gains_nothing() -> None:
    sound, lost = np.array([0.1, 0.2]), np.array([0.1, np.inf])
    assert gain_of(sound, lost) == gain_of(lost, lost) == -math.inf
    assert gain_of(lost, sound) == math.inf
