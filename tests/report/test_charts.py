"""Where marks, ticks, limits and the front stand on the page's plots."""

from __future__ import annotations

import pytest

from lissom.measurement.records import Estimate
from lissom.report.axes import TIMES, UNITS, axis, limit_of, reach, round_steps
from lissom.report.charts import plots
from lissom.report.labels import LETTER, shortened
from lissom.report.results import Results, Row
from lissom.report.strips import strips
from tests.report.invented import accuracy, fidelity, latency, perplexity, row, speed


def test_round_steps() -> None:
    assert round_steps(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert round_steps(0.967, 1.003, 4) == pytest.approx([0.97, 0.98, 0.99, 1.0])
    assert round_steps(0, 0.0007, 6) == pytest.approx([0, 0.0002, 0.0004, 0.0006])


def test_a_lone_far_value_does_not_squeeze_the_others() -> None:
    assert reach([1, 2, 3, 100]) == 3
    assert reach([1, 2, 100]) == 100
    assert reach([1, 2, 3, 11]) == 11
    assert reach([0.0, 0.0, 0.0, 0.5]) == 0.5


def test_two_far_values_do_not_either_but_half_of_all_do() -> None:
    assert reach([1, 2, 3, 30, 32]) == 3
    assert reach([1, 2, 3, 13, 60]) == 3
    assert reach([1, 2, 30, 32]) == 32
    assert reach([1, 2, 3, 30, 31, 32]) == 32


def test_slow_files_do_not_squeeze_the_latencies_of_the_others(results: Results) -> None:
    slow = [
        row(f"emulated {ms}", 9_000_000, speed(6.4, ms, 0.1, 0.2, "slower"), fidelity(0.99, 0.001))
        for ms in (70.0, 75.0)
    ]
    usual = plots(results, wide=True)[0]
    for wide in (True, False):
        plot = plots(results.model_copy(update={"rows": (*results.rows, *slow)}), wide=wide)[0]
        at = {point.number: point for point in plot.points}
        assert plot.x_break is not None
        assert max(at[number].x for number in range(8)) < plot.x_break
        assert plot.x_break < at[8].x == at[9].x <= plot.right
        assert {number for number, point in at.items() if point.off} == {5, 8, 9}
        if wide:
            assert at[0].x > 0.9 * next(point.x for point in usual.points if point.number == 0)
        # No tick is written past the break, and the limit is where the scale puts it.
        assert all(tick.at < plot.x_break for tick in plot.x_ticks)
        ticks = {tick.label: tick.at for tick in plot.x_ticks}
        assert plot.limits[0].x1 == pytest.approx(ticks["4"])


def test_a_limit_beyond_the_scale_is_told(results: Results) -> None:
    far = plots(results.model_copy(update={"budget": {"latency": "90ms"}}), wide=True)[0]
    assert far.limits == ()
    assert "Beyond the scale: budget 90ms." in far.key
    assert "Beyond" not in plots(results, wide=True)[0].key


def test_wide_letters_count_twice_and_steering_ones_are_spelt_out() -> None:
    assert shortened("x" * 24, 24) == "x" * 24
    assert shortened("x" * 25, 24) == "x" * 23 + "…"
    assert shortened("模型" * 20, 24) == ("模型" * 20)[:11] + "…"
    assert shortened("a\u202eb", 24) == "a[U+202E]b"


@pytest.mark.parametrize(
    ("budget", "kind", "value"),
    [
        ({"size": "25MB"}, "size", 25e6),
        ({"max-size": "1.5 GiB"}, "size", 1.5 * 2**30),
        ({"latency": "500us"}, "latency", 0.5),
        ({"latency": "2s"}, "latency", 2000.0),
        ({"latency": "soon"}, "latency", None),
        ({"size": "25MB"}, "latency", None),
        ({}, "size", None),
    ],
)
def test_limits_are_read_as_typed(budget: dict[str, str], kind: str, value: float | None) -> None:
    assert limit_of(budget, kind, UNITS if kind == "size" else TIMES) == value


def test_limits_stand_where_the_axes_say(results: Results) -> None:
    plot = plots(results, wide=True)[0]
    assert (plot.x_title, plot.y_title) == ("latency, ms", "cosine fidelity")
    upright, level = plot.limits
    ticks = {tick.label: tick.at for tick in plot.x_ticks}
    assert upright.x1 == upright.x2 == pytest.approx(ticks["4"])
    heights = {tick.label: tick.at for tick in plot.y_ticks}
    assert level.y1 == level.y2 == pytest.approx(heights["0.99"])
    assert (upright.label, level.label) == ("budget 4ms", "budget: drop 1pt")


def test_marks_stand_in_the_order_of_their_values(results: Results) -> None:
    plot = plots(results, wide=False)[0]
    at = {point.number: point for point in plot.points}
    assert at[1].x < at[2].x < at[0].x < at[4].x
    assert at[0].y == at[7].y < at[1].y < at[2].y < at[3].y
    # The two-bit file, 38 points worse, lies past a break in the scale, and its value is written.
    assert plot.y_break is not None
    assert max(at[number].y for number in (0, 1, 2, 3, 4, 6, 7)) < plot.y_break < at[5].y
    assert at[5].y < plot.bottom
    assert "0.612" in at[5].label
    assert plot.x_break is None
    assert [point.number for point in plot.points if point.off] == [5]
    assert all(
        plot.left <= point.x <= plot.right and plot.top <= point.y <= plot.bottom
        for point in plot.points
    )
    assert max(at.values(), key=lambda point: point.radius).number == 0


def test_the_front_joins_what_nothing_beats(results: Results) -> None:
    plot = plots(results, wide=True)[0]
    at = {point.number: point for point in plot.points}
    corners = [tuple(map(float, pair.split(","))) for pair in plot.front.split()]
    ends = [(round(at[number].x, 1), round(at[number].y, 1)) for number in (1, 7)]
    assert [corners[0], corners[-1]] == ends
    assert len(corners) == 3


def test_names_do_not_cover_each_other(results: Results) -> None:
    for plot in plots(results, wide=True):
        named = [point for point in plot.points if point.label]
        assert len(named) >= 5
        places = {(round(point.label_x), round(point.label_y)) for point in named}
        assert len(places) == len(named)


def test_up_is_better_for_a_metric_that_falls(original: Row, results: Results) -> None:
    def turned(one: Row) -> Row:
        quality = one.measurement.quality
        assert quality is not None
        return one.model_copy(
            update={
                "measurement": one.measurement.model_copy(
                    update={
                        "quality": quality.model_copy(
                            update={
                                "metric": "perplexity",
                                "higher_is_better": False,
                                "value": quality.value.model_copy(
                                    update={"value": 2 - quality.value.value}
                                ),
                            }
                        )
                    }
                )
            }
        )

    fallen = results.model_copy(
        update={"original": turned(original), "rows": tuple(map(turned, results.rows))}
    )
    at = {point.number: point for point in plots(fallen, wide=True)[0].points}
    assert at[0].y < at[1].y < at[2].y < at[3].y


def test_a_quality_that_is_no_number_is_left_out(results: Results) -> None:
    broken = row("broken", 1_000_000, speed(6.4, 3.0, 2, 2.2), fidelity(float("nan"), 0.0))
    drawn = plots(results.model_copy(update={"rows": (*results.rows, broken)}), wide=True)
    assert {point.number for point in drawn[0].points} == set(range(8))
    assert {point.number for point in drawn[2].points} == set(range(9))


def test_one_measured_file_has_no_axis(results: Results) -> None:
    assert axis(results.model_copy(update={"rows": ()}), "size") is None


def test_equal_qualities_stand_on_a_scale_that_shows_the_limit(results: Results) -> None:
    """Nobody reads 0.965525 to 0.965625, and a title does not lie upon its ticks."""

    def scored(one: Row) -> Row:
        quality = accuracy(0.96562, 0.0)
        same = Estimate(value=0.96562, low=0.95, high=0.98)
        none = Estimate(value=0.0, low=0.0, high=0.0)
        quality = quality.model_copy(update={"original": same, "value": same, "drop": none})
        measured = one.measurement.model_copy(update={"quality": quality})
        return one.model_copy(update={"measurement": measured})

    equal = results.model_copy(
        update={
            "original": scored(results.original),
            "rows": tuple(map(scored, results.rows)),
            "budget": {"drop": "1pt"},
        }
    )
    for wide in (True, False):
        plot = plots(equal, wide=wide)[0]
        assert [limit.label for limit in plot.limits] == ["budget: drop 1pt"]
        assert "Beyond" not in plot.key
        assert plot.left - 8 - LETTER * max(len(tick.label) for tick in plot.y_ticks) > 18
    quality = axis(equal.model_copy(update={"budget": {}}), "quality")
    assert quality is not None
    assert 0.005 < quality.high - quality.low < 0.007


def test_long_ticks_leave_room_for_the_title(results: Results) -> None:
    lost = [1234.25, 1234.26, 1234.28]
    rows = tuple(
        row(f"{end}", 9_000_000, speed(6.4, 3, 2, 3), perplexity(1234.25, end)) for end in lost
    )
    plot = plots(results.model_copy(update={"rows": rows, "budget": {}}), wide=True)[0]
    assert max(len(tick.label) for tick in plot.y_ticks) >= 4
    assert plot.left - 8 - LETTER * max(len(tick.label) for tick in plot.y_ticks) > 18


def test_strips_share_one_scale(results: Results) -> None:
    drawn, ticks = strips(results)
    assert len(drawn) == len(results.rows)
    assert {strip.original_p50 for strip in drawn} == {drawn[0].original_p50}
    assert drawn[0].candidate_p50 / drawn[0].original_p50 == pytest.approx(2.2 / 6.4)
    milliseconds = [(float(tick.label), tick.at) for tick in ticks]
    assert milliseconds[1][1] == pytest.approx(
        drawn[0].original_p50 * milliseconds[1][0] / 6.4, rel=1e-9
    )
    assert drawn[0].candidate.startswith("M")
    assert drawn[0].candidate.count("V") == 41


def test_runs_that_are_not_drawn_are_counted(results: Results) -> None:
    """An outline ends where few runs are left, and those beyond it are told of."""
    quick, _ = strips(results)
    assert {strip.slower for strip in quick} == {""}
    tailed = latency(2.2).model_copy(update={"runs": 750, "p99": 90.0})  # 600 of them in bins
    speed = results.rows[0].measurement.speed
    assert speed is not None
    timed = speed.model_copy(update={"candidate": tailed})
    measured = results.rows[0].measurement.model_copy(update={"speed": timed})
    first = results.rows[0].model_copy(update={"measurement": measured})
    drawn, _ = strips(results.model_copy(update={"rows": (first, *results.rows[1:])}))
    assert drawn[0].slower == "slower than drawn: 20 % of its runs (p99 90.0 ms)"
    # The tail changes nothing in what is drawn of the others.
    assert [strip.candidate for strip in drawn[1:]] == [strip.candidate for strip in quick[1:]]


def test_a_busy_machine_does_not_press_medians_to_the_edge(results: Results) -> None:
    """Old results have bins up to the slowest runs, fifty times as long as the median."""
    plain, _ = strips(results)

    def busy(row: Row) -> Row:
        speed = row.measurement.speed
        assert speed is not None
        both = {
            side: getattr(speed, side).model_copy(
                update={"edges": (2.0, 50 * speed.original.p50), "p99": 50 * speed.original.p50}
            )
            for side in ("original", "candidate")
        }
        measured = row.measurement.model_copy(update={"speed": speed.model_copy(update=both)})
        return row.model_copy(update={"measurement": measured})

    rows = tuple(busy(row) for row in results.rows)
    drawn, _ = strips(results.model_copy(update={"rows": rows}))
    longest = max(max(strip.original_p50, strip.candidate_p50) for strip in drawn)
    assert longest >= 20 - 1e-9
    assert longest <= max(strip.original_p50 for strip in plain) * 5
