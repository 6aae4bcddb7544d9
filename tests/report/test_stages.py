"""What a step changed: from the stage before, and coloured only where that is clear."""

from __future__ import annotations

import pytest

from lissom.measurement.records import Estimate
from lissom.report.results import Results, Row
from lissom.report.stages import changes
from tests.report.invented import accuracy, fidelity, row, speed


def staged(recipe: Results, *rows: Row) -> Results:
    return recipe.model_copy(update={"rows": rows})


def test_each_step_is_told_from_the_stage_before(recipe: Results) -> None:
    words = [[change.words for change in stage.values()] for stage in changes(recipe)]
    assert words == [
        ["-540.0 kB", "-0.41 ms", "-4.10 pt"],
        ["0 B", "+0.0050 ms", "+3.80 pt"],
        ["-8.0 kB", "-0.045 ms", "0.00 pt"],
        ["-387.0 kB", "-0.22 ms", "-0.35 pt"],
    ]
    for kind, total in (("size", 165_000), ("latency", 0.31), ("quality", 0.9055)):
        steps = [stage[kind] for stage in changes(recipe)]  # type: ignore[index]
        assert steps[-1].after == total
        assert [step.before for step in steps[1:]] == [step.after for step in steps[:-1]]


def test_only_what_is_clear_is_better_or_worse(recipe: Results) -> None:
    told = [[change.direction for change in stage.values()] for stage in changes(recipe)]
    assert told == [
        ["better", "better", "worse"],
        ["even", "even", "better"],
        ["better", "better", "even"],
        ["better", "better", "even"],
    ]


def test_a_step_is_told_by_speed_ups_where_clocks_contradict_them(recipe: Results) -> None:
    """The machine was busy in the second stage: slower only by the clock."""
    first = row("1 a", 10, speed(0.98, 0.50, 1.90, 2.02), None)
    busy = speed(1.96, 0.70, 2.70, 2.90)
    told = changes(staged(recipe, first, row("2 b", 10, busy, None)))[1]["latency"]
    # A run takes 0.51 of the original's time before the step and 0.36 of it after.
    assert (told.words, told.direction) == ("-0.15", "better")
    for ratio, direction in ((2.8, "better"), (1.97, "even"), (1.4, "worse")):
        known = Estimate(value=ratio, low=ratio * 0.97, high=ratio * 1.03)
        second = row("2 b", 10, busy.model_copy(update={"ratio": known}), None)
        assert changes(staged(recipe, first, second))[1]["latency"].direction == direction


def test_a_loss_inside_its_interval_is_not_clear(recipe: Results) -> None:
    for spread, direction in ((0.004, "worse"), (0.006, "even")):
        stages = staged(recipe, row("1 a", 10, None, accuracy(0.907, spread)))
        assert changes(stages)[0]["quality"].direction == direction


def test_a_falling_metric_is_better_when_it_falls(recipe: Results) -> None:
    quality = accuracy(0.7, 0.0).model_copy(
        update={
            "metric": "mse",
            "bounded": False,
            "higher_is_better": False,
            "drop": Estimate(value=-0.212, low=-0.3, high=-0.1),
        }
    )
    change = changes(staged(recipe, row("1 a", 10, None, quality)))[0]["quality"]
    assert (change.words, change.direction) == ("-0.212", "better")


def test_what_was_not_measured_is_missing_and_stepped_over(recipe: Results) -> None:
    stages = changes(
        staged(
            recipe,
            row("1 a", 900_000, None, fidelity(float("nan"), 0.0)),
            row("2 b", 800_000, speed(0.98, 0.49, 1.9, 2.1), accuracy(0.9, 0.001)),
        )
    )
    assert list(stages[0]) == ["size"]
    assert stages[1]["latency"].before == pytest.approx(0.98)
    assert stages[1]["quality"].before == pytest.approx(0.912)
