"""A limit on the time that a search may take, and what is left of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from time import monotonic

from lissom.errors import RequestError
from lissom.report.text import duration

SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
PART = r"(\d*\.?\d+)\s*([a-z]+)"
# A hundred years, which no machine runs.
LONGEST = 3e9
WHOLE = re.compile(rf"^\s*(?:{PART}\s*)+$", re.IGNORECASE)


@dataclass(frozen=True)
class Clock:
    """Counts from the moment it is made.

    Attributes:
        limit: seconds from the start; infinite without a limit.
    """

    limit: float = math.inf
    started: float = field(default_factory=lambda: monotonic())

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.limit < math.inf

    def left(self) -> float:
        """Seconds that are left; below zero when the limit has passed."""
        return self.limit - (monotonic() - self.started)

    def words(self) -> str:
        """What is left, for a person: "2 min 05 s of 10 min 00 s left"."""
        return f"{duration(max(0.0, self.left()))} of {duration(self.limit)} left"


def clock_of(time: str | float | Clock | None) -> Clock:
    """The clock that was given, or one of that limit that counts from now on.

    Raises:
        RequestError: the limit cannot be read.
    """
    if isinstance(time, Clock):
        return time
    return Clock() if time is None else Clock(parse_time(time))


def parse_time(typed: str | float) -> float:
    """Read "10m", "90s" or "1h30m", or a number of seconds, as seconds.

    Raises:
        RequestError: it is no time, or none at all.
    """
    seconds = _seconds(typed)
    if seconds is None:
        raise RequestError(
            f"cannot read the time {typed!r}", fix='write it like "10m" (units: s, m, h)'
        )
    if not 0 < seconds <= LONGEST:
        cannot = "in which nothing can be done" if seconds <= 0 else "which is no limit"
        raise RequestError(
            f"the limit on the time is {typed!r}, {cannot}",
            fix="give a time above zero, or leave it out",
        )
    return seconds


def _seconds(typed: str | float) -> float | None:
    if not isinstance(typed, str):
        return float(typed) if isinstance(typed, int | float) else None
    try:
        return float(typed)
    except ValueError:
        pass
    parts = re.findall(PART, typed.lower()) if WHOLE.match(typed) else []
    if not parts or any(unit not in SECONDS for _, unit in parts):
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in parts)
