"""The front and the choice, by hand-made rows."""

from __future__ import annotations

import pytest

from lissom.report.results import Row
from lissom.search.budget import Budget
from lissom.search.choose import nearest, pick, size_flags, surer, with_front
from tests.search.rows import measurement, row

ORIGINAL = row("original", size=1_000_000, speed=None, drop=0.0)


def names(rows: list[Row]) -> list[str]:
    return [each.name for each in rows if each.on_front]


def test_the_front_is_what_nothing_beats_in_all_three() -> None:
    rows = [
        ORIGINAL,
        row("small", size=200_000, speed=1.0, drop=0.02),
        row("fast", size=900_000, speed=3.0, drop=0.01),
        row("beaten by small", size=300_000, speed=0.9, drop=0.02),
        row("twin of fast", size=900_000, speed=3.0, drop=0.01),
    ]
    assert names(with_front(rows)) == ["original", "small", "fast", "twin of fast"]


def test_without_quality_the_front_is_size_and_speed() -> None:
    rows = [
        row("original", size=1_000_000, speed=None),
        row("both", size=500_000, speed=2.0),
        row("neither", size=600_000, speed=1.5),
    ]
    assert names(with_front(rows)) == ["both"]


@pytest.mark.parametrize(
    ("objective", "chosen"), [("size", "small"), ("latency", "fast"), ("balanced", "middle")]
)
def test_the_objective_decides(objective: str, chosen: str) -> None:
    rows = [
        row("small", size=100_000, speed=0.5),
        row("fast", size=990_000, speed=4.0),
        row("middle", size=250_000, speed=3.0),
    ]
    found = pick(rows, ORIGINAL, objective)  # type: ignore[arg-type]
    assert found is not None
    assert found.name == chosen


@pytest.mark.parametrize(
    ("objective", "chosen"), [("size", "int8"), ("balanced", "float16"), ("latency", "float16")]
)
def test_a_slower_file_is_chosen_for_its_size_only_where_size_was_asked_for(
    objective: str, chosen: str
) -> None:
    rows = [
        row("float16", size=510_000, speed=1.0),
        row("int8", size=270_000, speed=0.85),
    ]
    found = pick(rows, ORIGINAL, objective)  # type: ignore[arg-type]
    assert found is not None
    assert found.name == chosen


def test_in_the_balance_much_smaller_and_a_little_slower_is_still_best() -> None:
    rows = [row("float16", size=510_000, speed=1.0), row("4-bit", size=130_000, speed=0.9)]
    found = pick(rows, ORIGINAL, "balanced")
    assert found is not None
    assert found.name == "4-bit"


def test_outside_the_budget_nothing_is_chosen() -> None:
    rows = [row("small", size=100_000, misses=("drop",)), row("same", size=1_000_000, speed=1.0)]
    assert pick(rows, ORIGINAL, "size") is None
    assert pick([], ORIGINAL, "size") is None


def test_a_gain_is_a_per_cent_of_size_or_a_proven_speed() -> None:
    assert pick([row("tiny gain", size=995_000, speed=1.0)], ORIGINAL, "size") is None
    assert pick([row("smaller", size=980_000, speed=0.9)], ORIGINAL, "size") is not None
    assert pick([row("faster and larger", size=1_100_000, speed=2.0)], ORIGINAL, "size") is not None


def test_ties_go_to_the_smaller_file_then_the_name_whatever_a_noisy_latency_says() -> None:
    rows = [
        row("b", size=250_000, speed=2.00),
        row("larger", size=251_000, speed=2.05),
        row("a", size=250_000, speed=1.99),
    ]
    found = pick(rows, ORIGINAL, "latency")
    assert found is not None
    assert found.name == "a"


def test_the_nearest_is_the_least_outside_not_the_smallest_file() -> None:
    budget = Budget(size="1MB", drop="1pt")
    rows = [
        row("a hair too large", size=1_010_000, drop=0.0),
        row("ruined", size=100_000, drop=0.4),
        row("ruined and large", size=3_000_000, drop=0.4),
    ]
    found = nearest(rows, budget.excess)
    assert found is not None
    assert found.name == "a hair too large"
    assert nearest([], budget.excess) is None


def test_a_file_that_is_no_smaller_is_flagged() -> None:
    original = ORIGINAL.measurement
    assert size_flags(measurement(size=999_999), original) == ()
    assert size_flags(measurement(size=1_000_000), original) == ("not smaller than the original",)


def test_beside_one_that_is_not_proven_stands_the_best_that_is() -> None:
    original = row("original", speed=None)
    small = row("small", size=200_000, speed=3.0)
    small = small.model_copy(update={"unproven": ("drop: perhaps",)})
    sure, poor = row("sure", size=300_000, speed=2.9), row("poor", size=600_000, speed=1.5)
    rows = [original, poor, small, sure]
    best = pick(rows, original, "balanced")
    assert best is small
    assert surer(rows, original, "balanced", best) is sure
    assert surer(rows, original, "balanced", sure) is None  # what was chosen is proven
    assert surer([original, small], original, "balanced", small) is None
