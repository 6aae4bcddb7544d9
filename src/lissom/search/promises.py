"""What an artifact promises, and whether a new measurement keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lissom.measurement.records import Measurement
from lissom.report import text
from lissom.search.budget import Budget, parse_drop

# What another machine's time says nothing of.
TIMES = ("latency", "throughput")
OPTIONS = {
    "size": "--max-size",
    "latency": "--max-latency",
    "throughput": "--min-throughput",
    "memory": "--max-memory",
    "drop": "--max-drop",
}


class Promise(BaseModel):
    """One limit, and what was found.

    Attributes:
        name: "size", "latency", "throughput", "memory" or "drop".
        promised: the limit as it was typed.
        source: "recorded" in the manifest, or given as an "option".
        found: the new value in words, with its interval where there is one; "" if unknown.
        holds: None where it cannot be told here.
        why: why it does not hold, is not proven, or cannot be told; "" if there is nothing to say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    promised: str
    source: Literal["recorded", "option"]
    found: str
    holds: bool | None
    why: str

    @property
    def verdict(self) -> str:
        """The outcome in three words at most."""
        return {True: "holds", False: "does not hold", None: "cannot be told here"}[self.holds]

    def __str__(self) -> str:
        found = f", found {self.found}" if self.found else ""
        why = f" ({self.why})" if self.why else ""
        return f"{self.name}: promised {self.promised}{found}: {self.verdict}{why}"


def judge_promises(
    recorded: Mapping[str, str],
    asked: Budget,
    measurement: Measurement,
    *,
    elsewhere: str = "",
    unjudged: str = "",
) -> tuple[Promise, ...]:
    """Every limit next to a new measurement; an option replaces the recorded limit of its name.

    A limit is judged on the estimate, as `compress` does; where the interval of a drop crosses it,
    that is said.

    Args:
        recorded: the limits in the manifest, by name.
        asked: the limits given now.
        measurement: of the artifact, on this machine.
        elsewhere: why a recorded time says nothing here, "" if it does.
        unjudged: why quality was not measured.
    """
    options = asked.stated()
    found = []
    for name in OPTIONS:
        typed = options.get(name, recorded.get(name))
        if typed is None:
            continue
        source: Literal["recorded", "option"] = "option" if name in options else "recorded"
        words = _found(name, measurement)
        holds: bool | None
        if not words:
            holds, why = None, unjudged if name == "drop" else "it cannot be measured here"
        elif name == "drop" and _pointless(typed, measurement):
            holds, why = None, "this metric is not a share of one, so that a point means nothing"
        elif name in TIMES and source == "recorded" and elsewhere:
            holds, why = None, f"{elsewhere}; {OPTIONS[name]} judges it here"
        else:
            holds, why = _judged(name, typed, measurement)
        found.append(
            Promise(name=name, promised=typed, source=source, found=words, holds=holds, why=why)
        )
    return tuple(found)


def _judged(name: str, typed: str, measurement: Measurement) -> tuple[bool, str]:
    """Whether one limit is kept, and what must be said of it."""
    limit = Budget(**{name: typed})
    misses, unproven = limit.misses(measurement), limit.unproven(measurement)
    return not misses, "; ".join(misses or [f"not proven: {each}" for each in unproven])


def _pointless(typed: str, measurement: Measurement) -> bool:
    """Whether a limit in points meets a metric that has none."""
    quality = measurement.quality
    return quality is not None and not quality.bounded and not parse_drop(typed).relative


def _found(name: str, measurement: Measurement) -> str:
    """A quantity in words, "" where it was not measured."""
    latency, quality = measurement.latency, measurement.quality
    if name == "size":
        return text.size(measurement.footprint.bytes)
    if name == "memory":
        peak = measurement.footprint.peak_memory
        return "" if peak is None else text.size(peak)
    if name == "drop":
        if quality is None:
            return ""
        return f"{text.drop(quality)} {text.drop_interval(quality)} on {quality.samples:,} samples"
    if latency is None:
        return ""
    if name == "latency":
        within = text.milliseconds(latency.p95)
        return f"{text.milliseconds(latency.p50)} (95 % of runs within {within})"
    return f"{latency.throughput:.1f}/s"
