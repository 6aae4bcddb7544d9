"""What a repair takes away is foretold by making it in the compressed network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.repaired import gain_of
from lissom.report.counted import layers_counted
from lissom.report.diagnosis import Diagnosis, Gain, LayerError, Parts
from tests.diagnosis.plant import faults, planted
from tests.models import Weights, build, node, saved, value


@pytest.mark.parametrize(("network", "plant"), [("residual", "channel clipped")])
def test_repairing_the_broken_layer_gives_the_healthy_network(network, plant, healthy, tmp_path):
    case = healthy[network, "full"]
    fault = list(faults(case.healthy, plant))[4]
    file = planted(case.healthy, fault, tmp_path / "broken.onnx")
    found = diagnose(case.original, file, case.batches, pair_sums=False)
    sound = diagnose(case.original, case.healthy, case.batches, pair_sums=False)
    gains = {layer.name: layer.gains for layer in found.layers if layer.gains}
    due = 1 - sound.output_error / found.output_error
    assert gains[fault.layer]["layer"].part == pytest.approx(due, rel=0.1)
    assert gains[fault.layer]["layer"].told
    others = [each["layer"].part for name, each in gains.items() if name != fault.layer]
    assert max(others) < gains[fault.layer]["layer"].part / 3


@pytest.mark.parametrize("network", ["residual", "transformer"])
def test_sums_that_saturate_are_repaired_where_they_count(network, healthy, tmp_path):
    """On any machine: what a kernel that adds in 16 bits would lose is emulated."""
    case = healthy[network, "reduced"]
    fault = list(faults(case.healthy, "saturating weights"))[4]
    file = planted(case.healthy, fault, tmp_path / "broken.onnx")
    sound = diagnose(case.original, case.healthy, case.batches, pair_sums=False)
    for counted in (True, False):
        found = diagnose(case.original, file, case.batches, pair_sums=counted)
        (layer,) = (layer for layer in found.layers if layer.name == fault.layer)
        if not counted:
            assert "saturation" not in layer.gains
            assert "layer" not in layer.gains or layer.gains["layer"].part < 0.5
            continue
        # Its error put into the original, beside that of the sound file.
        due = 1 / (1 + sound.output_error / (layer.share * found.alone))
        assert layer.gains["layer"].part == pytest.approx(due, abs=0.05)
        assert layer.gains["saturation"].part == pytest.approx(due, abs=0.05)
        # The outputs' error is that of such a processor, whatever this machine adds.
        alone = layer.share * found.alone
        assert found.error == pytest.approx(alone + sound.output_error, rel=0.2)
        others = [each.gains["layer"].part for each in found.layers if each.gains]
        assert sorted(others)[-2] < 0.3


def several(path: Path, shifts: list[np.ndarray]) -> Path:
    """A sum of layers that read the input, whose biases are moved."""
    weights, count = Weights(0), len(shifts)
    nodes = []
    for at, shift in enumerate(shifts):
        matrix = weights.keep(f"weight{at}", weights.rng.normal(size=(8, 8)))
        bias = weights.keep(f"bias{at}", 0.1 * np.ones(8) + shift)
        nodes.append(node("Gemm", ["x", matrix, bias], f"part{at}"))
    nodes.append(node("Sum", [f"part{at}" for at in range(count)], "y"))
    inputs = [value("x", TensorProto.FLOAT, "n", 8)]
    output = value("y", TensorProto.FLOAT, "n", 8)
    return saved(build("several", nodes, inputs, output, weights, 21), path)


def test_small_errors_that_add_up_are_measured_before_large_ones_that_cancel(tmp_path):
    """Of shares alone six large ones of both signs would be taken, none of which gains."""
    one, other = np.eye(8)[0], np.eye(8)[1]
    moved = [3 * one, -3 * one] * 3 + [0.5 * other] * 8
    original = several(tmp_path / "original.onnx", [np.zeros(8)] * len(moved))
    compressed = several(tmp_path / "moved.onnx", moved)
    rng = np.random.default_rng(0)
    batches = [{"x": rng.normal(size=(8, 8)).astype(np.float32)} for _ in range(4)]
    found = diagnose(original, compressed, batches)
    large, small = found.layers[:6], found.layers[6:]
    assert min(layer.share for layer in large) > 10 * max(layer.share for layer in small)
    gains = [layer.gains["layer"].part for layer in small if layer.gains]
    # Eight errors of 0.5 add up to 4: without one of them it is 3.5.
    assert gains == pytest.approx([1 - 3.5**2 / 4**2] * 3, rel=1e-3)
    # Of the error made alone they are the first, and told of: what their repair does is measured.
    gains = [layer.gains["layer"].part for layer in large if layer.gains]
    assert gains == pytest.approx([-(3**2) / 4**2] * 3, rel=1e-3)


def test_the_standard_error_is_that_of_a_ratio():
    rng = np.random.default_rng(0)
    before = rng.uniform(1.0, 3.0, (400, 32))
    after = before * rng.uniform(0.2, 0.8, before.shape)
    gains = [gain_of(*pair) for pair in zip(before, after, strict=True)]
    parts = np.array([each.part for each in gains])
    assert parts.mean() == pytest.approx(0.5, abs=0.01)
    assert np.mean([each.error for each in gains]) == pytest.approx(parts.std(), rel=0.1)


def test_a_bias_that_makes_up_for_other_errors_is_no_fault():
    layer = LayerError(
        name="layer", op_type="Conv", output="out", added=1e-3, accumulated=1e-3, share=0.5,
        parts=Parts(bias=8e-4, clipping=2e-4),
        gains={"bias": Gain(part=-0.2, error=0.05)},
    )  # fmt: skip
    found = Diagnosis(
        original="a", compressed="b", inputs="", samples=8, output_error=1e-3, layers=(layer,)
    )
    (counted,) = layers_counted(found)
    assert (counted.parts.bias, counted.parts.clipping) == (0.0, 2e-4)
