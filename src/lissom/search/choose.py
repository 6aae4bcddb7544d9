"""The Pareto front of size, speed and quality, and the one row a user's objective picks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from lissom.measurement.records import Measurement
from lissom.report.results import Row

Objective = Literal["balanced", "size", "latency"]
OBJECTIVES: tuple[Objective, ...] = ("balanced", "size", "latency")

# Scores closer than this are a tie, so that the choice does not hang on a noisy latency.
TIE = 0.05
# Of a size or a speed, a hundredth less is no cost.
UNNOTICED = 0.01


def with_front(rows: Sequence[Row]) -> list[Row]:
    """Mark the rows that no other row beats in size, speed and quality at once."""
    marked = []
    for row in rows:
        beaten = any(_beats(other.measurement, row.measurement) for other in rows)
        marked.append(row.model_copy(update={"on_front": not beaten}))
    return marked


def pick(rows: Sequence[Row], original: Row, objective: Objective) -> Row | None:
    """The row that serves the objective best among those inside the budget, or None.

    A row must be smaller or faster than the original to be picked. Rows whose scores tie are
    ordered by size, then by drop and name.
    """
    inside = [row for row in rows if not row.misses and _gains(row, original)]
    if not inside:
        return None
    scores = {row.name: _score(row, original, objective) for row in inside}
    best = max(scores.values())
    tied = [row for row in inside if scores[row.name] >= best - TIE]
    return min(tied, key=_by_size)


def surer(rows: Sequence[Row], original: Row, objective: Objective, best: Row | None) -> Row | None:
    """What would be picked if every limit had to be proven, where that of the best one is not."""
    if best is None or not best.unproven:
        return None
    return pick([row for row in rows if not row.unproven], original, objective)


def _by_size(row: Row) -> tuple[int, float, str]:
    quality = row.measurement.quality
    return row.measurement.footprint.bytes, quality.drop.value if quality else 0.0, row.name


def nearest(rows: Sequence[Row], excess: Callable[[Measurement], float]) -> Row | None:
    """The row least outside the budget by `excess`; among equals the smallest file.

    Of several runtimes, in the one where it is furthest outside.
    """

    def place(row: Row) -> tuple[float, int, str]:
        worst = max(map(excess, row.measurement.everywhere))
        return worst, row.measurement.footprint.bytes, row.name

    return min(rows, key=place, default=None)


def size_flags(measurement: Measurement, original: Measurement) -> tuple[str, ...]:
    """What must be said of a file's size next to the original's."""
    smaller = measurement.footprint.bytes < original.footprint.bytes
    return () if smaller else ("not smaller than the original",)


def _gains(row: Row, original: Row) -> bool:
    smaller = row.measurement.footprint.bytes < 0.99 * original.measurement.footprint.bytes
    speed = row.measurement.speed
    return smaller or (speed is not None and speed.verdict == "faster")


def _score(row: Row, original: Row, objective: Objective) -> float:
    """Logarithms of how many times smaller and faster a row is, as the objective weighs them.

    In the balance, a gain in one that costs the other counts half: who has not asked for size alone
    would rather have 2x smaller at the same speed than 3.5x smaller and slower.
    """
    smaller = math.log(
        original.measurement.footprint.bytes / max(row.measurement.footprint.bytes, 1)
    )
    faster = math.log(_times_faster(row.measurement))
    if objective == "size":
        return smaller
    if objective == "latency":
        return faster
    both = smaller + faster
    return both / 2 if min(smaller, faster) < -UNNOTICED and both > 0 else both


def _times_faster(measurement: Measurement) -> float:
    """The speed-up where there is one; noise around 1 decides nothing.

    Of several runtimes, in the one where it is least.
    """
    if measurement.elsewhere:
        alone = measurement.model_copy(update={"elsewhere": ()})
        return min(map(_times_faster, (alone, *measurement.elsewhere)))
    speed = measurement.speed
    decided = speed is not None and speed.verdict in ("faster", "slower")
    return speed.ratio.value if speed is not None and decided else 1.0


def _beats(one: Measurement, other: Measurement) -> bool:
    """At least as good in everything and better in something."""
    sides = list(zip(_goodness(one), _goodness(other), strict=True))
    return all(a >= b for a, b in sides) and any(a > b for a, b in sides)


def _goodness(measurement: Measurement) -> tuple[float, float, float]:
    drops = [each.quality.drop.value for each in measurement.everywhere if each.quality]
    return (
        -float(measurement.footprint.bytes),
        _times_faster(measurement),
        -max(drops, default=0.0),
    )
