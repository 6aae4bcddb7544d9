"""Graphs that come half quantized: what is there stays, what is float is quantized."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lissom.batches import Batches
from lissom.graph.inventory import inventory
from lissom.graph.quantized import Quantized, quantized
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.static import Static, static
from lissom.quantize.weight_only import WeightOnly, weight_only
from lissom.technique import Context
from tests.graph.small import checked, draw, node, opened, ops, run, tensor

X = tensor("x", shape=["n", 32])
FEEDS = {"x": draw(64, 32)}
CODES = np.clip(np.round(draw(32, 32, seed=1) * 20), -63, 63).astype(np.int8)
CONSTANTS = {
    "sx": np.float32(4 / 128), "zx": np.uint8(128), "sh": np.float32(30 / 255), "zh": np.uint8(0),
    "w1": CODES, "s1": np.float32(0.02), "z1": np.int8(0),
    "w2": draw(32, 16, seed=2, scale=0.2),
}  # fmt: skip


def half_quantized() -> ir.Model:
    """The first layer quantized by somebody, with its result; the second float."""
    nodes = [
        node("QuantizeLinear", ["x", "sx", "zx"], "xq"),
        node("DequantizeLinear", ["xq", "sx", "zx"], "xd"),
        node("DequantizeLinear", ["w1", "s1", "z1"], "w1d"),
        node("MatMul", ["xd", "w1d"], "m"),
        node("Relu", ["m"], "h"),
        node("QuantizeLinear", ["h", "sh", "zh"], "hq"),
        node("DequantizeLinear", ["hq", "sh", "zh"], "hd"),
        node("MatMul", ["hd", "w2"], "y"),
    ]
    return opened(nodes, [X], ["y"], CONSTANTS, opset=21)


def test_static_completes_it_with_the_scales_that_are_there() -> None:
    model = half_quantized()
    truth = run(model, FEEDS)[0]
    found = checked(
        static(model, Static(), Context(pair_sums=True, calibration=Batches.of([FEEDS])))
    )
    # Only the second weight is new: one DequantizeLinear more, and no second pair anywhere.
    assert ops(found).count("QuantizeLinear") == 2
    assert ops(found).count("DequantizeLinear") == 4
    assert found.graph.initializers["w1"].const_value.numpy().tobytes() == CODES.tobytes()
    assert "w2" not in found.graph.initializers
    assert np.abs(run(found, FEEDS)[0] - truth).max() <= 0.02 * np.abs(truth).max()


def test_other_techniques_leave_the_codes_alone_too() -> None:
    truth = run(half_quantized(), FEEDS)[0]
    for function, config in ((dynamic, Dynamic()), (weight_only, WeightOnly(bits=8))):
        found = checked(function(half_quantized(), config, Context(pair_sums=True)))
        assert found.graph.initializers["w1"].const_value.numpy().tobytes() == CODES.tobytes()
        assert np.abs(run(found, FEEDS)[0] - truth).max() <= 0.02 * np.abs(truth).max()


def test_what_was_found_is_named_by_its_reader() -> None:
    assert quantized(inventory(half_quantized())) == (Quantized("MatMul", 1, 1024),)
    made = dynamic(half_quantized(), Dynamic(), Context())
    assert quantized(inventory(made)) == (
        Quantized("MatMul", 1, 1024), Quantized("MatMulInteger", 1, 512),
    )  # fmt: skip
