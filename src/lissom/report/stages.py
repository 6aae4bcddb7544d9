"""What each step of a recipe changed: every stage beside the one before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lissom.measurement.records import Measurement
from lissom.report import text
from lissom.report.axes import Kind
from lissom.report.pace import Pace, pace
from lissom.report.results import Results, Row

KINDS: tuple[Kind, ...] = ("size", "latency", "quality")
# Less than this share of a size or a time is not worth a colour.
UNNOTICED = {"size": 0.005, "latency": 0.02}

Direction = Literal["better", "worse", "even"]


@dataclass(frozen=True)
class Change:
    """One quantity before and after a step; `direction` is "even" where nothing is clear.

    `words` is the difference as it is written: "-12.1 MB", "+0.35 pt".
    """

    before: float
    after: float
    words: str
    direction: Direction


def changes(results: Results) -> tuple[dict[Kind, Change], ...]:
    """For each stage what its step changed; a quantity is missing where it was not measured.

    What a step did is told from the last stage before it that has the quantity.
    """
    kept = pace(results)
    first = results.original
    last = {kind: first for kind in KINDS if value_of(first, kind, kept) is not None}
    told = []
    for row in results.rows:
        known = [kind for kind in KINDS if value_of(row, kind, kept) is not None]
        told.append({kind: _change(kind, last[kind], row, kept) for kind in known if kind in last})
        last |= dict.fromkeys(known, row)
    return tuple(told)


def value_of(row: Row, kind: Kind, kept: Pace) -> float | None:
    """Bytes, time in the unit of `kept`, the metric's value; None where there is no such number."""
    if kind == "size":
        return float(row.measurement.footprint.bytes)
    if kind == "latency":
        return kept.time(row)
    quality = row.measurement.quality
    return quality.value.value if quality and math.isfinite(quality.drop.value) else None


def _change(kind: Kind, earlier: Row, row: Row, kept: Pace) -> Change:
    before, after = value_of(earlier, kind, kept), value_of(row, kind, kept)
    assert before is not None
    assert after is not None
    quality = row.measurement.quality
    if kind == "quality" and quality is not None:
        words = signed(after - before, _points if text.in_points(quality) else text.score)
        clear = _clear_loss(earlier.measurement, row.measurement)
        better = (after > before) == quality.higher_is_better
    else:
        words = signed(after - before, kept.written if kind == "latency" else _bytes)
        clear = abs(after - before) > UNNOTICED[kind] * before
        better = after < before
        if kind == "latency":
            clear = clear and _clear_speed(earlier.measurement, row.measurement, faster=better)
    direction: Direction = "even" if not clear else "better" if better else "worse"
    return Change(before, after, words, direction)


def signed(value: float, form: Callable[[float], str]) -> str:
    """A difference with its sign; none where it is too small to be written."""
    words = form(abs(value))
    if not words.strip("0. MkGBmspt"):
        return words
    return f"{'-' if value < 0 else '+'}{words}"


def _clear_speed(earlier: Measurement, later: Measurement, *, faster: bool) -> bool:
    """Whether the speed-ups agree with the times that a step made the file faster or slower.

    Times of different stages come from different minutes of the machine; the speed-ups were
    measured in turns with the original. Their errors are taken to be independent.
    """
    gain, variance = 0.0, 0.0
    for sign, speed in ((-1, earlier.speed), (1, later.speed)):
        if speed is not None:
            gain += sign * math.log(speed.ratio.value)
            variance += (math.log(speed.ratio.high / speed.ratio.low) / 2) ** 2
    return (gain > 0) == faster and abs(gain) > math.sqrt(variance)


def _clear_loss(earlier: Measurement, later: Measurement) -> bool:
    """Whether two drops from the original differ by more than their intervals explain.

    Both were taken on the same samples, so their errors move together and this asks for more
    than is needed.
    """
    loss, variance = 0.0, 0.0
    for sign, quality in ((-1, earlier.quality), (1, later.quality)):
        if quality is not None:
            loss += sign * quality.drop.value
            variance += ((quality.drop.high - quality.drop.low) / 2) ** 2
    return abs(loss) > math.sqrt(variance)


def _bytes(value: float) -> str:
    return text.size(round(value))


def _points(value: float) -> str:
    return f"{text.points(value)} pt"
