"""Times of files on one scale, though each was timed at a moment of its own.

Every file runs in turns with the original, so that its speed-up holds however busy the machine was
just then. Its median does not compare with that of a file timed minutes later. What is drawn on one
axis is therefore the original's time divided by the speed-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from lissom.measurement.records import Latency
from lissom.report import text
from lissom.report.results import Results, Row

# Medians of one file, or what two medians and the speed-up say, agree up to this factor.
STEADY = 1.15


@dataclass(frozen=True)
class Pace:
    """How the times of one table compare.

    Attributes:
        original: the row that the others are compared with.
        reference: its median in ms; None where it was never timed.
        spread: the least and the largest of its medians in ms, over all turns.
        apart: the largest factor between a speed-up and what the medians in the table make of it.
    """

    original: Row
    reference: float | None
    spread: tuple[float, float]
    apart: float

    @property
    def wavering(self) -> bool:
        """Whether the original alone took longer at one time than at another."""
        return self.spread[1] > STEADY * self.spread[0]

    @property
    def steady(self) -> bool:
        """Whether times of different moments may be read beside each other."""
        return not self.wavering and self.apart <= STEADY

    @property
    def unit(self) -> str:
        """Of `time`: milliseconds, or times of the original where milliseconds tell nothing."""
        return "ms" if self.steady else "original = 1"

    def time(self, row: Row) -> float | None:
        """A row's time in `unit` as runs in turns found it, None where there is none."""
        latency, speed = latency_of(row), row.measurement.speed
        whole = 1.0 if not self.steady else self.reference
        if row is self.original:
            return whole
        if speed is not None and math.isfinite(speed.ratio.value) and whole is not None:
            return whole / speed.ratio.value
        if latency is None:
            return None
        return latency.p50 if self.steady or not self.reference else latency.p50 / self.reference

    def written(self, time: float) -> str:
        """A time of `unit` in words."""
        return text.milliseconds(time) if self.steady else f"{time:.2f}"

    def p50(self, row: Row) -> str:
        """A row's own median, which is marked where it says little."""
        latency = latency_of(row)
        if latency is None:
            return text.NOT_HERE
        if row is self.original and self.wavering:
            return text.milliseconds_between(*self.spread)
        return f"{'' if self.steady else '~'}{text.milliseconds(latency.p50)}"

    def splits(self, row: Row, limit: float) -> bool:
        """Whether a row's median and its time lie on either side of a limit in ms."""
        latency, time = latency_of(row), self.time(row)
        if latency is None or time is None:
            return False
        return (latency.p50 > limit) != (time > limit)

    @property
    def warning(self) -> str:
        """What a reader must know before comparing times; empty where they may be compared."""
        if self.steady:
            return ""
        found = f"the medians (~) and the speed-ups differ by up to {text.ratio(self.apart)}"
        if self.wavering:
            between = text.milliseconds_between(*self.spread)
            found = f"the original's own p50 went from {between} between turns"
        return (
            f"The machine was busy during the timing: {found}. Compare speed-ups, not times (~) of "
            "different rows: each file ran in turns with the original, so that both were slowed "
            "alike. A quiet machine, or more --seconds, gives times that hold."
        )


def pace(results: Results) -> Pace:
    """How the times of a table compare, in its first runtime."""
    original, alone = results.original, latency_of(results.original)
    speeds = [row.measurement.speed for row in results.rows if row.measurement.speed]
    medians = [speed.original.p50 for speed in speeds]
    if alone is not None:
        medians.append(alone.p50)
        reference: float | None = alone.p50
    else:
        reference = median(medians) if medians else None
    apart = [
        _factor(reference / speed.candidate.p50, speed.ratio.value)
        for speed in speeds
        if reference is not None and math.isfinite(speed.ratio.value)
    ]
    spread = (min(medians, default=1.0), max(medians, default=1.0))
    return Pace(original, reference, spread, max(apart, default=1.0))


def latency_of(row: Row) -> Latency | None:
    """A candidate's latency as it was timed beside the original, or the file's own."""
    speed = row.measurement.speed
    return speed.candidate if speed else row.measurement.latency


def _factor(one: float, other: float) -> float:
    return max(one / other, other / one)
