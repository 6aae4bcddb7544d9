"""What a repair takes away is foretold by making it in the compressed network."""

from __future__ import annotations

import numpy as np
import pytest

from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.repaired import gain_of
from lissom.report.counted import layers_counted
from lissom.report.diagnosis import Diagnosis, Gain, LayerError, Parts
from tests.diagnosis.plant import faults, planted


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
