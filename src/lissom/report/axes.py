"""The scales of the page's charts: how far they reach, where their ticks and limits are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lissom.report import text
from lissom.report.pace import pace
from lissom.report.results import Results, Row

Kind = Literal["size", "latency", "quality"]

UNITS = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
LEAST = 0.005  # of a metric between 0 and 1, or of the original's value: the smallest loss drawn
TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Axis:
    """One quantity of all rows: megabytes, milliseconds, or the metric's values.

    `values` has None where a row was not measured; `bars` are where the intervals of the drops
    put the values. `ceiling` is a value that the quantity cannot exceed, so that no tick is
    written above it. `note` is what must be said of the scale below the plot.
    """

    kind: Kind
    title: str
    values: tuple[float | None, ...]
    bars: tuple[tuple[float, float] | None, ...]
    low: float
    high: float
    limit: float | None
    limit_label: str
    higher_is_better: bool = False
    ceiling: float = math.inf
    note: str = ""

    def place(self, value: float, start: float, end: float) -> float:
        """Where a value stands between two pixels; what is beyond the scale stands at its edge."""
        share = (value - self.low) / (self.high - self.low)
        return start + min(max(share, 0.0), 1.0) * (end - start)

    def shows(self, value: float) -> bool:
        """Whether the scale reaches as far as the value."""
        return self.low <= value <= self.high

    def ticks(self, count: int) -> list[float]:
        """About `count` round values that the quantity can have."""
        return [value for value in round_steps(self.low, self.high, count) if value <= self.ceiling]


def axis(results: Results, kind: Kind) -> Axis | None:
    """The scale of one quantity, or None where fewer than two files have it."""
    rows = (results.original, *results.rows)
    if kind == "size":
        unit, scale = size_unit(max(row.measurement.footprint.bytes for row in rows))
        sizes = [row.measurement.footprint.bytes / scale for row in rows]
        limit = limit_of(results.budget, kind, {name: UNITS[name] / scale for name in UNITS})
        return _amounts(rows, kind, f"size, {unit}", sizes, limit, results.budget)
    if kind == "latency":
        return _latencies(results)
    return _qualities(rows, results.budget)


def size_unit(largest: float) -> tuple[str, float]:
    """The unit in which sizes up to this one are written, and its bytes."""
    names = {1e9: "GB", 1e6: "MB", 1e3: "kB"}
    scale = next((scale for scale in names if largest >= scale), 1.0)
    return names.get(scale, "B"), scale


def judged(row: Row) -> tuple[float, float] | None:
    """Where the interval of the drop puts the value, the original's taken as it is.

    None where there is no such interval. Original and candidate saw the same samples, so that
    this tells them apart; the intervals of their values, which move together, do not.
    """
    quality = row.measurement.quality
    if quality is None or not math.isfinite(quality.drop.low + quality.drop.high):
        return None
    sign = 1.0 if quality.higher_is_better else -1.0
    ends = [quality.original.value - sign * end for end in (quality.drop.low, quality.drop.high)]
    return min(ends), max(ends)


def reach(values: Sequence[float]) -> float:
    """The largest value worth showing to scale: a few far beyond the others are not.

    The scale ends below the first gap of more than a factor of four that leaves the larger part
    of the values, and three at least, beneath it.
    """
    ordered = sorted(values)
    for count in range(max(3, len(ordered) // 2 + 1), len(ordered)):
        if ordered[count] > 4 * ordered[count - 1] > 0:
            return ordered[count - 1]
    return ordered[-1]


def round_steps(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between two values."""
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * index, 12) for index in range(first, last + 1)]


def limit_of(budget: dict[str, str], kind: str, units: dict[str, float]) -> float | None:
    """A constraint as a number, or None where there is none that a plot can show."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z%]+)\s*", typed(budget, kind).lower())
    if match is None or match[2] not in units:
        return None
    return float(match[1]) * units[match[2]]


def typed(budget: dict[str, str], kind: str) -> str:
    """The user's constraint on a quantity, named size, max-size or max_size."""
    names = (name for name in budget if re.fullmatch(rf"(max[-_ ])?{kind}", name.lower()))
    return budget.get(next(names, ""), "")


def _latencies(results: Results) -> Axis | None:
    """A scale of times as runs in turns found them."""
    rows, kept = (results.original, *results.rows), pace(results)
    times = [kept.time(row) for row in rows]
    limit = limit_of(results.budget, "latency", TIMES)
    note = "" if kept.steady else "Latency is the original's time divided by the speed-up."
    # A limit holds for medians: a line that puts a mark on the wrong side of it is not drawn.
    if limit is not None and (not kept.steady or any(kept.splits(row, limit) for row in rows)):
        limit = None
        note = f"{note} The limit on latency is not drawn: the table tells each file's p50.".strip()
    found = _amounts(rows, "latency", f"latency, {kept.unit}", times, limit, results.budget)
    return None if found is None else replace(found, note=note)


def _amounts(
    rows: Sequence[Row],
    kind: Kind,
    title: str,
    values: Sequence[float | None],
    limit: float | None,
    budget: dict[str, str],
) -> Axis | None:
    """A scale from zero, for quantities of which less is better."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    kept = [value for value, kept in zip(values, _kept(rows), strict=True) if value and kept]
    top = max([reach(known), *kept])
    if limit is not None and top < limit <= 1.5 * top:
        top = limit
    label = f"budget {typed(budget, kind)}"
    return Axis(kind, title, tuple(values), (None,) * len(rows), 0.0, 1.1 * top, limit, label)


def _qualities(rows: Sequence[Row], budget: dict[str, str]) -> Axis | None:
    """A scale around the original's quality, as far as the losses go."""
    measured = [
        quality
        if (quality := row.measurement.quality) and math.isfinite(quality.drop.value)
        else None
        for row in rows
    ]
    known = [quality for quality in measured if quality is not None]
    if len(known) < 2:
        return None
    metric, before = known[-1], known[-1].original.value
    sign = -1.0 if metric.higher_is_better else 1.0
    allowed = limit_of(budget, "drop", {"pt": 0.01, "%": abs(before) / 100})
    far = reach([max(quality.drop.value, 0.0) for quality in known])
    near = [
        quality.drop
        for quality, kept in zip(measured, _kept(rows), strict=True)
        if quality and (kept or quality.drop.value <= far)
    ]
    worst = max(far, *(_finite(drop.high, drop.value) for drop in near))
    # What differs by chance alone is not stretched over the whole height.
    worst = max(worst, LEAST * (1.0 if text.in_points(metric) else abs(before))) or 1e-4
    if allowed is not None and worst < allowed <= 5 * worst:
        worst = allowed
    gained = max(0.12 * worst, *(1.12 * -_finite(drop.low, drop.value) for drop in near))
    ends = (before + sign * 1.12 * worst, before - sign * gained)
    return Axis(
        kind="quality",
        title=text.metric_label(metric),
        values=tuple(quality.value.value if quality else None for quality in measured),
        bars=tuple(map(judged, rows)),
        low=min(ends),
        high=max(ends),
        limit=None if allowed is None else before + sign * allowed,
        limit_label=f"budget: drop {typed(budget, 'drop')}",
        higher_is_better=metric.higher_is_better,
        ceiling=1.0 if text.in_points(metric) else math.inf,
    )


def _finite(end: float, value: float) -> float:
    return end if math.isfinite(end) else value


def _kept(rows: Sequence[Row]) -> list[bool]:
    """Which rows may never stand beyond the scale: the original, which is first, and the chosen."""
    return [index == 0 or row.chosen for index, row in enumerate(rows)]
