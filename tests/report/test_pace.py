"""Times of a busy machine: nothing that is drawn or told contradicts the speed-ups."""

from __future__ import annotations

import re

import pytest

from lissom.measurement.records import Estimate
from lissom.report.axes import axis
from lissom.report.charts import plots
from lissom.report.pace import pace
from lissom.report.page import render_page, tiles
from lissom.report.results import Results, Row
from lissom.report.terminal import as_text
from lissom.report.waterfall import waterfall
from tests.report.invented import fidelity, row, speed


def timed(name: str, before: float, after: float, gain: float, **more: bool) -> Row:
    """A file with medians of its own and of the original, and what pairs in turns said."""
    ratio = Estimate(value=gain, low=0.8 * gain, high=1.2 * gain)
    pair = speed(before, after, 1, 2).model_copy(update={"ratio": ratio})
    return row(name, 20_000_000, pair, fidelity(0.99, 0.0), **more)


@pytest.fixture
def busy(results: Results) -> Results:
    """The original took 6.4 ms by itself and up to 42 ms beside others, all of which were faster
    than it and took longer than 6.4 ms."""
    rows = (
        timed("chosen one", 22.0, 10.2, 4.1, chosen=True),
        timed("float16", 30.0, 29.4, 1.03),
        timed("slow", 42.0, 50.0, 0.8),
    )
    return results.model_copy(update={"rows": rows})


def test_the_picture_of_a_busy_machine_agrees_with_the_speed_ups(busy: Results) -> None:
    latency = axis(busy, "latency")
    assert latency is not None
    assert latency.title == "latency, original = 1"
    assert latency.values == pytest.approx((1, 1 / 4.1, 1 / 1.03, 1 / 0.8))
    assert latency.limit is None  # of 4 ms, which are of no moment in particular
    plot = plots(busy, wide=True)[0]
    at = {point.number: point.x for point in plot.points}
    assert at[1] < at[2] < at[0] < at[3]
    assert "The limit on latency is not drawn" in plot.key


def test_page_and_terminal_warn_and_mark_the_times(busy: Results) -> None:
    warned = "the original's own p50 went from 6.4 to 42.0 ms between turns"
    page, lines = render_page(busy), as_text(busy, 120)
    assert warned in page.replace("&#39;", "'")
    assert warned in re.sub(r"\s+", " ", lines)
    for told in (page, lines):
        assert "6.4 to 42.0 ms" in told and "~10.2 ms" in told
    tile = tiles(busy)[1]
    assert (tile.headline, tile.before, tile.after) == ("4.1x faster", "100 %", "24 %")
    assert tile.after_share == pytest.approx(100 / 4.1)


def test_a_steady_machine_is_not_warned_of(results: Results) -> None:
    assert pace(results).warning == ""
    assert "~" not in as_text(results, 120)
    assert "busy during" not in render_page(results)
    # The original took 14 % longer in one of the pairs: the speed-up stands, in milliseconds.
    once = timed("once", 7.3, 3.6, 2.0)
    found = pace(results.model_copy(update={"rows": (*results.rows, once)}))
    assert found.steady
    assert found.time(once) == pytest.approx(3.2)


def test_medians_that_contradict_a_speed_up_are_warned_of(results: Results) -> None:
    """The original was steady, the candidate was slow in half of its turns."""
    halved = results.model_copy(update={"rows": (timed("a", 6.4, 4.0, 2.4),)})
    assert "the medians (~) and the speed-ups differ by up to 1.50x" in pace(halved).warning
    assert "6.4 to" not in as_text(halved, 120)


def test_a_limit_is_not_drawn_where_it_would_part_the_wrong_files(results: Results) -> None:
    near = timed("near", 6.9, 4.05, 1.7)  # over 4 ms by its median, 3.8 ms by the speed-up
    told = results.model_copy(update={"rows": (near,), "budget": {"latency": "4ms"}})
    latency = axis(told, "latency")
    assert latency is not None and latency.values[1] == pytest.approx(6.4 / 1.7)
    assert latency.limit is None
    assert "not drawn" in latency.note


def test_steps_of_a_recipe_are_drawn_by_their_speed_ups(recipe: Results) -> None:
    """Between the two stages the machine became three times as slow."""
    stages = (timed("1 a", 0.98, 0.5, 1.96), timed("2 b", 3.0, 0.75, 4.0, chosen=True))
    drawn = waterfall(recipe.model_copy(update={"rows": stages}), wide=True)
    assert drawn is not None
    panel = next(panel for panel in drawn.panels if panel.title == "latency, original = 1")
    assert [(mark.value, mark.change) for mark in panel.marks] == [
        ("1.00", ""),
        ("0.51", "-0.49"),
        ("0.25", "-0.26"),
        ("0.25", "4.0x faster"),
    ]
    assert [mark.kind for mark in panel.marks] == ["original", "better", "better", "result"]
