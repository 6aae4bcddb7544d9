"""What is written on the plots: nothing hides it, and it hides nothing."""

from __future__ import annotations

import pytest

from lissom.report.charts import plots
from lissom.report.labels import LETTER, Limit, Point, told_apart
from lissom.report.results import Results
from tests.report.invented import accuracy, row, speed


def crowded(results: Results, budget: dict[str, str]) -> Results:
    """Four files of nearly the same speed and accuracy, of intervals wider than their distance."""
    rows = tuple(
        row(
            f"file {number}",
            20_000_000 + 1_000_000 * number,
            speed(6.4, 2.2 + 0.02 * number, 2.8, 3.0),
            accuracy(0.911 - 0.0002 * number, 0.003),
            on_front=number == 0,
            chosen=number == 0,
        )
        for number in range(4)
    )
    original = row("original", 90_000_000, speed(6.4, 6.4, 0.99, 1.01), accuracy(0.912, 0.0))
    return results.model_copy(update={"original": original, "rows": rows, "budget": budget})


def box_of(limit: Limit) -> tuple[float, float, float, float]:
    long = LETTER * len(limit.label)
    along = 0.0 if limit.anchor == "start" else -long
    if limit.upright:
        # Turned, the text runs upwards.
        return (
            limit.label_x - 11,
            limit.label_y - along - long,
            limit.label_x,
            limit.label_y - along,
        )
    return limit.label_x + along, limit.label_y - 11, limit.label_x + along + long, limit.label_y


def meets(box: tuple[float, float, float, float], mark: Point) -> bool:
    across = box[0] < mark.x + mark.radius and mark.x - mark.radius < box[2]
    return across and box[1] < mark.y + mark.radius and mark.y - mark.radius < box[3]


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("drop", ["0.01pt", "0.1pt", "0.16pt", "1pt"])
def test_no_mark_hides_the_label_of_a_limit(results: Results, drop: str, wide: bool) -> None:
    budget = {"size": "85MB", "latency": "6ms", "drop": drop}
    for plot in plots(crowded(results, budget), wide=wide):
        assert len(plot.limits) == 2
        for limit in plot.limits:
            box = box_of(limit)
            assert plot.left <= box[0] and box[2] <= plot.right + 3
            assert [mark.number for mark in plot.points if meets(box, mark)] == []


def test_a_label_longer_than_the_plot_is_no_error(results: Results) -> None:
    budget = {"size": f"{'0' * 200}25MB"}
    assert plots(crowded(results, budget), wide=False)[1].limits[0].label.endswith("25MB")


def test_a_name_that_is_cut_is_not_taken_for_another() -> None:
    names = ["int8 dynamic", "int8 dynamic, 4-bit embeddings", "int8 dynamic, 4 bits", "float16"]
    for most, cut in (
        (30, names),
        (20, ["int8 dynamic", "int8 dynamic, 4-bit…", "int8 dynamic, 4 bits", "float16"]),
        (12, ["int8 dynamic", "int8…embedd…", "int8…4 bits", "float16"]),
    ):
        assert [told_apart(name, most, names) for name in names] == cut
    assert told_apart("int8 dynamic, 4-bit", 12, ["float16"]) == "int8 dynami…"


def test_names_that_cannot_be_told_apart_when_cut_have_their_numbers(results: Results) -> None:
    crowd = crowded(results, {})
    ends = ("per channel, min-max, 7 bits", "per tensor, min-max, 7 bits")
    rows = tuple(
        one.model_copy(update={"name": f"a very long name: static int8 {end}"})
        for one, end in zip(crowd.rows, ends, strict=False)
    )
    plot = plots(crowd.model_copy(update={"rows": rows}), wide=True)[0]
    written = [mark.label for mark in plot.points if mark.number]
    assert len(set(written)) == 2 and all(written), written


@pytest.mark.parametrize(("wide", "name"), [(True, "2 file 1"), (False, "2")])
def test_a_number_that_a_mark_hides_is_written_beside(
    results: Results, wide: bool, name: str
) -> None:
    crowd = crowded(results, {})
    on_top = crowd.rows[0].model_copy(update={"measurement": crowd.rows[1].measurement})
    pair = crowd.model_copy(update={"rows": (on_top, crowd.rows[1])})
    plot = plots(pair, wide=wide)[0]
    assert {mark.number: mark.label for mark in plot.points}[2] == name
    assert "1" not in {mark.number: mark.label for mark in plot.points}[1]


def test_strokes_are_the_intervals_of_the_drops_and_fit_the_plot(results: Results) -> None:
    plot = plots(crowded(results, {"drop": "1pt"}), wide=True)[0]
    at = {mark.number: mark for mark in plot.points}
    ends = at[1].bar
    assert at[0].bar is None and ends is not None
    # Accuracy 0.911 with a drop of 0.10 +- 0.30 points; the value's own interval is +- 1.2 points.
    limit = next(line for line in plot.limits if not line.upright)
    point = (limit.y1 - at[0].y) / 1.0
    assert abs(ends[0] - ends[1]) == pytest.approx(0.6 * point, rel=1e-6)
    assert plot.top < min(ends) and max(ends) < limit.y1 < plot.bottom


def test_small_files_are_drawn_in_kilobytes(results: Results) -> None:
    small = crowded(results, {"size": "30kB"})
    rows = [
        one.model_copy(
            update={
                "measurement": one.measurement.model_copy(
                    update={
                        "footprint": one.measurement.footprint.model_copy(
                            update={"bytes": one.measurement.footprint.bytes // 1000}
                        )
                    }
                )
            }
        )
        for one in (small.original, *small.rows)
    ]
    small = small.model_copy(update={"original": rows[0], "rows": tuple(rows[1:])})
    plot = plots(small, wide=True)[1]
    assert plot.x_title == "size, kB"
    ticks = {tick.label: tick.at for tick in plot.x_ticks}
    assert ticks["20"] < plot.limits[0].x1 < ticks["40"]
