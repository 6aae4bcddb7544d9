"""The waterfall: bars that meet, on scales that hide nothing."""

from __future__ import annotations

import re

import pytest

from lissom.report.results import Results
from lissom.report.waterfall import Mark, Panel, description, waterfall
from tests.report.invented import accuracy, fidelity, row, speed


def panels(results: Results, *, wide: bool = True) -> dict[str, Panel]:
    drawn = waterfall(results, wide=wide)
    assert drawn is not None
    return {panel.title: panel for panel in drawn.panels}


def ends(mark: Mark) -> tuple[float, float]:
    """Where a bar's outline starts and where its tip is."""
    match = re.fullmatch(r"M([\d.]+),[\d.]+H[\d.]+L([\d.]+),.*Z", mark.path)
    assert match is not None
    return float(match[1]), float(match[2])


def on_scale(panel: Panel, value: float) -> float:
    (x0, low), (x1, high) = ((at, float(label)) for at, label in panel.ticks[:2])
    return x0 + (value - low) * (x1 - x0) / (high - low)


@pytest.mark.parametrize("wide", [True, False])
def test_bars_run_from_the_stage_before_to_this_one(recipe: Results, wide: bool) -> None:
    told = panels(recipe, wide=wide)
    assert list(told) == ["size, MB", "latency, ms", "accuracy"]
    size = told["size, MB"]
    assert [mark.name for mark in size.marks] == [
        "original", "1 prune.structured", "2 distill.logits", "3 graph.optimize",
        "4 quantize.static", "result",
    ]  # fmt: skip
    for mark, before, after in (
        (size.marks[0], 0, 1.1),
        (size.marks[1], 1.1, 0.56),
        (size.marks[4], 0.552, 0.165),
        (size.marks[5], 0, 0.165),
    ):
        assert ends(mark) == pytest.approx((on_scale(size, before), on_scale(size, after)), abs=0.1)
    quality = told["accuracy"]
    assert ends(quality.marks[2]) == pytest.approx(
        (on_scale(quality, 0.871), on_scale(quality, 0.909)), abs=0.1
    )
    assert quality.marks[1].whisker == pytest.approx(
        (on_scale(quality, 0.862), on_scale(quality, 0.880))
    )
    assert [mark.kind for mark in quality.marks] == [
        "original", "worse", "better", "even", "even", "result",
    ]  # fmt: skip


def test_value_and_change_are_written(recipe: Results) -> None:
    told = panels(recipe)
    written = [[(mark.value, mark.change) for mark in panel.marks] for panel in told.values()]
    assert written[0][1] == ("560.0 kB", "-540.0 kB")
    assert written[1][4] == ("0.31 ms", "-0.22 ms")
    assert [column[-1] for column in written] == [
        ("165.0 kB", "6.7x smaller"),
        ("0.31 ms", "3.2x faster"),
        ("0.905", "drop 0.65 pt"),
    ]


def test_a_scale_is_cut_only_where_differences_would_vanish(recipe: Results) -> None:
    assert [panel.cut for panel in panels(recipe).values()] == [False, False, True]
    ruined = row("1 prune", 500_000, None, accuracy(0.31, 0.02))
    whole = panels(recipe.model_copy(update={"rows": (ruined, *recipe.rows[1:])}))["accuracy"]
    assert not whole.cut
    assert ends(whole.marks[0])[0] == pytest.approx(on_scale(whole, 0), abs=0.1)


def test_limits_stand_on_the_scales(recipe: Results) -> None:
    told = panels(recipe)
    size, latency, quality = told.values()
    assert size.limit == pytest.approx(on_scale(size, 0.3))
    assert latency.limit is None
    assert quality.limit == pytest.approx(on_scale(quality, 0.902))


@pytest.mark.parametrize("wide", [True, False])
def test_all_is_inside_the_drawing(recipe: Results, wide: bool) -> None:
    long = recipe.rows[0].model_copy(update={"name": "1 a-technique-with-a-very-long-name" * 3})
    drawn = waterfall(recipe.model_copy(update={"rows": (long, *recipe.rows[1:])}), wide=wide)
    assert drawn is not None
    for panel in drawn.panels:
        assert 0 <= panel.left < panel.right <= drawn.width
        assert 0 <= panel.top < panel.bottom < drawn.height
        for mark in panel.marks:
            assert all(panel.left - 1 <= x <= panel.right + 1 for x in ends(mark))
            assert all(panel.left <= x <= panel.right for x in mark.whisker or ())
            assert len(mark.name) <= 24


def test_a_stage_without_a_number_says_so_and_the_next_bar_starts_before_it(
    recipe: Results,
) -> None:
    broken = row("1 a", 900_000, None, fidelity(float("nan"), 0.0))
    fine = row("2 b", 800_000, speed(0.98, 0.49, 1.9, 2.1), accuracy(0.9, 0.001))
    told = panels(recipe.model_copy(update={"rows": (broken, fine)}))
    latency = told["latency, ms"]
    assert (latency.marks[1].path, latency.marks[1].value) == ("", "not measured")
    assert ends(latency.marks[2])[0] == pytest.approx(on_scale(latency, 0.98), abs=0.1)
    assert told["cosine fidelity"].marks[1].value == "nan"


def test_what_nobody_measured_has_no_panel(recipe: Results) -> None:
    bare = [
        one.model_copy(
            update={
                "measurement": one.measurement.model_copy(
                    update={"speed": None, "latency": None, "quality": None}
                )
            }
        )
        for one in (recipe.original, *recipe.rows)
    ]
    told = recipe.model_copy(update={"original": bare[0], "rows": tuple(bare[1:])})
    assert list(panels(told)) == ["size, MB"]
    assert waterfall(recipe.model_copy(update={"rows": ()}), wide=True) is None


def test_an_unchanged_quality_has_a_scale(recipe: Results) -> None:
    same = [
        one.model_copy(
            update={
                "measurement": one.measurement.model_copy(update={"quality": accuracy(0.912, 0.0)})
            }
        )
        for one in recipe.rows
    ]
    unchanged = recipe.model_copy(update={"rows": tuple(same), "budget": {}})
    quality = panels(unchanged)["accuracy"]
    starts = {ends(mark) for mark in quality.marks[1:-1]}
    assert len(starts) == 1
    assert {mark.change for mark in quality.marks[1:-1]} == {"0.00 pt"}


def test_the_description_tells_every_step(recipe: Results) -> None:
    told = description(recipe).split("; ")
    assert told[0] == (
        "1 prune.structured: size 560.0 kB (-540.0 kB, better), latency 0.57 ms (-0.41 ms, better),"
        " quality 0.871 (-4.10 pt, worse)"
    )
    assert len(told) == 4
