from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.graph.edit import Editor, tidy
from lissom.quantize.islands import shield
from tests.graph.small import checked, draw, node, opened, ops, reference, run, tensor

X = tensor("x", shape=[2, 4, 6, 6])
GRID = {"s": np.float32(1 / 16), "z": np.uint8(128)}
TO_CODES = node("QuantizeLinear", ["x", "s", "z"], "codes")
FROM_CODES = node("DequantizeLinear", ["codes", "s", "z"], "reals")


def back(source: str) -> list:
    return [
        node("QuantizeLinear", [source, "s", "z"], "out"),
        node("DequantizeLinear", ["out", "s", "z"], "y"),
    ]


LAYERS = {
    "conv": ([node("Conv", ["reals", "w"], "a")], draw(4, 4, 1, 1)),
    "conv, relu": ([node("Conv", ["reals", "w"], "c"), node("Relu", ["c"], "a")], draw(4, 4, 1, 1)),
    "transposed conv": ([node("ConvTranspose", ["reals", "w"], "a")], draw(4, 4, 2, 2)),
}


def sandwich(layer: str) -> ir.Model:
    nodes, weight = LAYERS[layer]
    constants = GRID | {"w": weight * np.float32(0.37)}
    return opened([TO_CODES, FROM_CODES, *nodes, *back("a")], [X], ["y"], constants, opset=21)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_between_codes_keeps_its_float_weights(layer):
    model = sandwich(layer)
    x = draw(2, 4, 6, 6, seed=1)
    exact = reference(model, {"x": x})[0]
    assert shield(Editor(model), set()) == 1
    tidy(model)
    assert "Sum" in ops(checked(model))
    # At most a code in a hundred may fall on the other side of a half.
    off = np.abs(run(model, {"x": x})[0] - exact)
    assert off.max() <= 1 / 16 + 1e-6
    assert (off > 1e-6).mean() < 0.01


def test_the_runtime_would_round_its_weights_otherwise():
    """If this fails, ONNX Runtime no longer does, and the shield can go."""
    model = sandwich("conv")
    x = draw(2, 4, 6, 6, seed=1)
    off = np.abs(run(model, {"x": x})[0] - reference(model, {"x": x})[0])
    assert (off > 1e-6).mean() > 0.01


def test_layers_that_are_integer_or_end_in_floats_are_left_alone():
    model = sandwich("conv")
    layers = {each for each in model.graph if each.op_type == "Conv"}
    assert shield(Editor(model), layers) == 0
    nodes, weight = LAYERS["conv"]
    ending = [TO_CODES, FROM_CODES, *nodes, node("Sigmoid", ["a"], "y")]
    assert shield(Editor(opened(ending, [X], ["y"], GRID | {"w": weight})), set()) == 0
    reading = [node("Neg", ["x"], "reals"), *nodes, *back("a")]
    assert shield(Editor(opened(reading, [X], ["y"], GRID | {"w": weight})), set()) == 0
