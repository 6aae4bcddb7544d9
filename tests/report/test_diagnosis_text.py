"""The diagnosis on a terminal: verdicts first, few layers, narrow windows, hostile names."""

from __future__ import annotations

import pytest

from lissom.report.diagnosis import Cause, Diagnosis, LayerTime, Parts, Shift, Times
from lissom.report.diagnosis_page import render_diagnosis
from lissom.report.diagnosis_text import as_text
from lissom.report.main_cause import main_cause, part_of
from tests.report.invented_diagnosis import diagnosis, layer


@pytest.fixture
def found() -> Diagnosis:
    return diagnosis()


def rows(told: str) -> list[list[str]]:
    """The table's rows, cut into words."""
    lines = told.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("  layer "))
    end = next(at for at in range(start, len(lines)) if lines[at].startswith("  added:"))
    return [line.split() for line in lines[start + 1 : end]]


def test_verdicts_come_first_with_remedy_and_gain(found: Diagnosis) -> None:
    told = as_text(found, width=100)
    assert (
        told.index("1. blocks.1.conv1: 41%") < told.index("2. blocks.3.conv1") < told.index("12 of")
    )
    assert "   remedy: calibrate with data like these\n" in told
    assert "   which is expected to take away 37 % of the output's error\n" in told
    assert "the error of the outputs is -21.3 dB, 0.74 % of the signal's power" in told
    assert "accuracy 0.912 -> 0.861, drop 5.10 pt" in told


def test_the_table_holds_the_layers_of_most_error(found: Diagnosis) -> None:
    told = rows(as_text(found))
    assert len(told) == 12
    assert " ".join(told[0]) == "blocks.1.conv1 41 % -22.2 -21.7 clipping 90 % 8/8"
    assert [row[0] for row in told[1:4]] == ["blocks.3.conv1", "blocks.5.conv0", "blocks.7.conv2"]
    assert "and 48 more; --all shows them" in as_text(found)
    every = rows(as_text(found, every=True))
    assert [row[0] for row in every] == [each.name for each in found.layers]


@pytest.mark.parametrize("width", [40, 48, 60, 80])
def test_it_stays_within_a_narrow_terminal(found: Diagnosis, width: int) -> None:
    long = layer(7, name="encoder.layers.0." * 6 + "conv1")
    told = as_text(found.model_copy(update={"layers": (long, *found.layers)}), width=width)
    assert max(map(len, told.splitlines())) <= width
    row = next(line for line in told.splitlines() if line.lstrip().startswith("..."))
    assert "conv1" in row and "41 %" in row


def test_layers_without_a_counterpart_are_named_by_reason(found: Diagnosis) -> None:
    told = as_text(found)
    assert "7 layers of the original without a counterpart" in told
    assert "  head.0, head.1, head.2, head.3 and 2 more: it was fused away\n" in told
    assert "head.5: it was fused away" in as_text(found, every=True)
    assert "counterpart" not in as_text(found.model_copy(update={"unmatched": ()}))


def test_made_up_inputs_are_said(found: Diagnosis) -> None:
    assert "made up" not in as_text(found)
    assert "the inputs are made up" in as_text(found.model_copy(update={"made_up": True}))


def test_saturation_counts_where_the_processor_saturates(found: Diagnosis) -> None:
    assert "saturation is emulated" in as_text(found)
    here = as_text(found.model_copy(update={"saturates_here": True}))
    assert "saturation is emulated" not in here and "saturation 90 %" in here
    exact = as_text(found.model_copy(update={"pair_sums": False}), width=200)
    assert "saturation 90 %" not in exact
    assert "1 layer would saturate besides, the most blocks.5.conv0, an error of -22.7 dB" in exact


def test_calibration_data_that_differ_are_named(found: Diagnosis) -> None:
    assert "calibration" not in as_text(found.model_copy(update={"verdicts": ()}))
    alike = Shift(
        tensor="x", layer=None, calibration=(-1, 1), validation=(-1.1, 1),
        beyond_before=0.0, beyond=0.001, distance=0.04, usual=0.02,
    )  # fmt: skip
    told = as_text(found.model_copy(update={"shifts": (alike,)}))
    assert "calibration data and these are alike" in told
    other = alike.model_copy(
        update={"layer": "conv1", "validation": (-3, 9), "beyond": 0.12, "distance": 0.4}
    )
    told = as_text(found.model_copy(update={"shifts": (alike, other)}), width=200)
    assert (
        "input of conv1: -1 to 1 on calibration data, -3 to 9 on these; 12 % of the values lie "
        "outside of its grid; the distributions are 40 % apart, halves of the calibration data 2 %"
    ) in told
    assert "the model's input" not in told


def test_nothing_differs_and_nothing_compares(found: Diagnosis) -> None:
    same = layer(1).model_copy(update={"added": 0.0, "accumulated": 0.0, "parts": Parts()})
    exact = found.model_copy(update={"layers": (same,), "output_error": 0.0, "verdicts": ()})
    assert "the outputs are the same" in as_text(exact)
    assert rows(as_text(exact))[0][-3:] == ["none", "none", "8/8"]
    none = found.model_copy(update={"layers": ()})
    assert "no layer could be compared" in as_text(none)


def test_a_broken_layer_stands_first_and_names_cannot_steer_the_terminal(found: Diagnosis) -> None:
    dead = layer(50, name="evil\x1b[2J\u202e").model_copy(update={"problem": "dead"})
    told = as_text(found.model_copy(update={"layers": (*found.layers, dead)}))
    assert rows(told)[0][0] == "evil[U+001B][2J[U+202E]"
    assert "dead" in rows(told)[0]
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("parts", "cause", "part"),
    [
        ({"weights": 0.7, "rounding": 0.2}, "weights", 0.7),
        ({"rounding": 0.3, "clipping": 0.6}, "clipping", 0.6),
        ({"bias": 0.9, "rounding": 0.1}, "bias", 0.9),
        ({"activation": 0.9, "rounding": 0.8}, "activation", 0.9),
        ({"saturation": 1.4}, "saturation", 1.0),
        ({"weights": 0.05, "bias": 0.03}, "unexplained", 0.0),
    ],
)
def test_the_main_cause_is_what_makes_most(
    parts: dict[str, float], cause: Cause, part: float
) -> None:
    found = layer(1).model_copy(update={"added": 1.0, "parts": Parts(**parts)})
    assert main_cause(found) == cause
    assert part_of(found, cause) == pytest.approx(part)


def timed() -> Diagnosis:
    """The invented diagnosis with times of its first layers."""
    found = diagnosis()
    first, second = found.layers[6].name, found.layers[18].name
    layers = (
        LayerTime(name=first, original=0.25, compressed=0.40, conversions=0.02),
        LayerTime(name=second, original=0.0, compressed=0.003, fused=(first,)),
    )
    times = Times(
        original=1.5,
        compressed=0.75,
        conversions=(0.0, 0.02),
        rest=(0.1, 0.1),
        threads=1,
        inputs="x 1x3x32x32",
        layers=layers,
    )
    return found.model_copy(update={"times": times})


def test_times_are_a_column_and_a_sentence() -> None:
    found = timed()
    text = as_text(found, width=120)
    assert "a run takes 1.5 ms in the original and 0.75 ms compressed" in " ".join(text.split())
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  blocks.")}
    assert lines[found.layers[6].name].endswith("0.25 -> 0.42")
    assert lines[found.layers[18].name].endswith("fused -> 0.003")
    assert "0.42" not in as_text(diagnosis(), width=120)
    page = render_diagnosis(found)
    assert "0.25 → 0.42" in page
    assert "0.25 → 0.42" not in render_diagnosis(diagnosis())
