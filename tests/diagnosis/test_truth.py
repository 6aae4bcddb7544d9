"""What is planted is found: the layer and the cause, every time."""

from __future__ import annotations

import pytest

from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.verdict import with_verdicts
from tests.diagnosis.networks import images, quantized, residual
from tests.diagnosis.plant import PLANTS, faults, planted

NETWORKS = ("residual", "transformer")
CASES = [(network, plant) for network in NETWORKS for plant in PLANTS]


def found_in(case, fault, folder):
    """The layer and the cause of the first verdict."""
    saturates = fault.cause == "saturation"
    file = planted(case.healthy, fault, folder / "broken.onnx")
    found = diagnose(case.original, file, case.batches, pair_sums=saturates)
    first = with_verdicts(found).verdicts[0]
    return first.layer, first.cause


def of(network, plant, healthy):
    return healthy[network, "reduced" if plant == "saturating weights" else "full"]


@pytest.mark.parametrize(("network", "plant"), CASES)
def test_a_planted_fault_is_the_largest(network, plant, healthy, tmp_path):
    case = of(network, plant, healthy)
    fault = list(faults(case.healthy, plant))[4]
    assert found_in(case, fault, tmp_path) == (fault.layer, fault.cause)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "plant"), CASES)
def test_a_planted_fault_is_the_largest_in_every_place(network, plant, healthy, tmp_path):
    case = of(network, plant, healthy)
    places = list(faults(case.healthy, plant))
    found = {fault.layer: found_in(case, fault, tmp_path) for fault in places}
    assert found == {fault.layer: (fault.layer, fault.cause) for fault in places}
    assert len(places) >= 10


@pytest.mark.parametrize("network", NETWORKS)
def test_a_healthy_network_has_no_layer_that_stands_out(network, healthy):
    case = healthy[network, "full"]
    found = diagnose(case.original, case.healthy, case.batches, pair_sums=False)
    assert found.output_error < 1e-3
    assert max(layer.share for layer in found.layers) < 0.3
    assert max(layer.added for layer in found.layers) < 5e-4
    assert [each.cause for each in with_verdicts(found).verdicts] == ["healthy"]
    # What the layers make alone is what they make together.
    assert found.alone == pytest.approx(found.output_error, rel=0.5)
    assert not found.unmatched and not any(layer.problem for layer in found.layers)
    assert sum(layer.share for layer in found.layers) == pytest.approx(1.0)


def test_ranges_of_other_data_clip(tmp_path):
    pale = images(4, seed=5, size=0.3)
    case = quantized(residual(), images(), tmp_path, calibration=pale, keep_float=("logits*",))
    found = diagnose(case.original, case.healthy, case.batches, calibration=pale, pair_sums=False)
    first = with_verdicts(found).verdicts[0]
    assert (first.layer, first.cause) == (None, "data")
    shifted = {each.tensor: each for each in found.shifts}
    image = shifted["image"]
    assert image.layer is None and image.beyond > 0.2 and image.beyond_before == 0
    assert image.distance > 3 * image.usual
    layers = [each for each in found.shifts if each.layer is not None]
    assert len(layers) >= 10
    assert sum(each.beyond > 10 * each.beyond_before for each in layers) > len(layers) / 2


def test_alike_data_are_no_shift(healthy):
    case = healthy["residual", "full"]
    found = diagnose(case.original, case.healthy, case.batches, calibration=images(4, seed=5))
    assert all(each.distance < 2 * each.usual + 0.05 for each in found.shifts)
    assert all(each.beyond < 0.01 for each in found.shifts)
