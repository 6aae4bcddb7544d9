"""The predicted front on the page: where its points stand, and records that have none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import cast

import pytest

from lissom.report.front_chart import FrontChart, front_chart, uniform_points
from lissom.report.mixed import FrontPoint, MixedFile, MixedLayer
from lissom.report.page import render_page
from lissom.report.results import Results
from lissom.report.stored import read_stored
from lissom.tables import Format


def layer(name: str, form: Format, worst: float) -> MixedLayer:
    return MixedLayer(
        name=name,
        op_type="Conv",
        weights=1000,
        format=form,
        bytes={"float32": 4000, "float16": 2000, "w8a8": 1100, "w4a8": 600},
        errors={"float16": 1e-9, "w8a8": worst / 100, "w4a8": worst},
    )


@pytest.fixture
def predicted(results: Results) -> Results:
    """Two layers, the first narrow; learned codes left half of the error."""
    file = MixedFile(
        row=results.rows[0].name,
        layers=(layer("a", "w4a8", 0.02), layer("b", "w8a8", 0.2)),
        predicted_error=0.011,
        predicted_bytes=2000,
        error=0.01,
        bytes=2100,
    )
    front = (
        FrontPoint(bytes=2500, error=0.0011),
        FrontPoint(bytes=2000, error=0.011),
        FrontPoint(bytes=1500, error=0.11),
    )
    return results.model_copy(update={"mixed": (file,), "predicted_front": front})


def test_uniform_formats_are_predicted_from_what_a_file_says_of_its_layers(
    predicted: Results,
) -> None:
    told = uniform_points(predicted.mixed[0])
    # 300 bytes are none of the layers'.
    assert {form: point.bytes for form, point in told.items()} == {"w8a8": 2500, "w4a8": 1500}
    assert told["w8a8"].error == pytest.approx(0.0011)
    assert told["w4a8"].error == pytest.approx(0.11)


@pytest.mark.parametrize("wide", [True, False])
def test_marks_stand_on_one_scale_in_decibels(predicted: Results, wide: bool) -> None:
    chart = cast("FrontChart", front_chart(predicted, wide=wide))
    line = [tuple(map(float, pair.split(","))) for pair in chart.line.split()]
    marks = {mark.told.partition(":")[0]: mark for mark in chart.marks}
    # The ends of the front are the two formats; ten times the error is 10 dB further down.
    for form, end in (("w8a8", line[0]), ("w4a8", line[-1])):
        assert (marks[form].x, marks[form].y) == pytest.approx(end, abs=0.06)
    assert line[1][1] - line[0][1] == pytest.approx(line[2][1] - line[1][1], abs=0.2)
    # The file is where it was measured: 20 dB, and a tenth of a kilobyte beyond its prediction.
    file = marks[predicted.mixed[0].row]
    twenty = next(tick.at for tick in chart.y_ticks if tick.label == "20")
    assert file.y == pytest.approx(twenty)
    assert file.x - line[1][0] == pytest.approx((line[0][0] - line[1][0]) / 5, abs=0.1)
    assert file.kind == "chosen"
    assert all(mark.label for mark in chart.marks)
    assert f"{file.told.partition(':')[0]}: 2.1 kB and 20.0 dB measured" in chart.words


def test_the_page_holds_the_chart_twice_and_its_numbers_in_words(predicted: Results) -> None:
    page = render_page(predicted)
    assert page.count("<title") == 3
    assert "w4a8: 1.5 kB and 9.6 dB predicted" in page
    assert page.index("Which layer got what") < page.index('class="predicted"')


def test_what_has_no_place_on_the_scale_is_left_out(predicted: Results) -> None:
    ends = (FrontPoint(bytes=9000, error=0.0), FrontPoint(bytes=10, error=math.inf))
    with_ends = predicted.model_copy(
        update={"predicted_front": (ends[0], *predicted.predicted_front, ends[1])}
    )
    assert front_chart(with_ends, wide=True) == front_chart(predicted, wide=True)


def test_errors_of_outputs_that_overflow_are_written_read_and_shown(
    predicted: Results, tmp_path: Path
) -> None:
    (file,) = predicted.mixed
    one, other = file.layers
    wild = MixedLayer.model_validate(one.model_dump() | {"errors": one.errors | {"w2a8": math.inf}})
    front = (*predicted.predicted_front, FrontPoint(bytes=10, error=math.inf))
    measured = MixedFile.model_validate(
        file.model_dump() | {"layers": (wild, other), "error": math.nan}
    )
    told = predicted.model_copy(update={"mixed": (measured,), "predicted_front": front})
    (tmp_path / "results.json").write_text(told.model_dump_json(), encoding="utf-8")
    read = read_stored(tmp_path).results
    assert read == told
    assert read.mixed[0].layers[0].errors["w2a8"] == math.inf
    assert read.mixed[0].error is None
    assert uniform_points(read.mixed[0])["w4a8"].error == pytest.approx(0.11)
    page = render_page(read)
    assert "w4a8: 1.5 kB and 9.6 dB predicted" in page
    assert "measured nan" not in page
    # Lissom wrote such a sum before it told which layers overflow.
    record = json.loads(told.model_dump_json())
    record["mixed"][0]["predicted_error"] = None
    record["predicted_front"] = [{"bytes": 2500, "error": None}]
    old = Results.model_validate(record)
    assert old.mixed[0].predicted_error == math.inf
    assert "Which layer got what, and why" in render_page(old)


def test_results_of_before_there_was_a_front_are_read_and_shown(predicted: Results) -> None:
    record = json.loads(predicted.model_dump_json())
    del record["predicted_front"]
    old = Results.model_validate(record)
    assert old.predicted_front == ()
    page = render_page(old)
    assert "Which layer got what, and why" in page
    assert 'class="predicted"' not in page
