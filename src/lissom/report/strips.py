"""The distributions of latency, each candidate's over the original's, as plain geometry."""

from __future__ import annotations

from dataclasses import dataclass

from lissom.measurement.records import Latency, Speed
from lissom.report import text
from lissom.report.axes import reach, round_steps
from lissom.report.frame import Tick
from lissom.report.results import Results, Row

# Medians beyond which no run is drawn.
BEYOND = 5.0
# The share of runs left out that goes without saying.
RARE = 0.0101


@dataclass(frozen=True)
class Strip:
    """The latency of one candidate over the original's, drawn in a box of 1000 x 60.

    Medians are in percent of the scale; `off` says that the candidate's is beyond it. `slower` is
    what the drawing leaves out, in words, where that is more than a run in a hundred.
    """

    number: int
    row: Row
    original: str
    candidate: str
    original_p50: float
    candidate_p50: float
    off: bool
    slower: str


def strips(results: Results) -> tuple[tuple[Strip, ...], tuple[Tick, ...]]:
    """Latency distributions on one scale, and its ticks in percent of the width."""
    timed = [(i, row) for i, row in enumerate(results.rows, 1) if row.measurement.speed]
    both = [
        latency
        for _, row in timed
        if (speed := row.measurement.speed)
        for latency in (speed.original, speed.candidate)
    ]
    if not both:
        return (), ()
    # On a busy machine one run in a hundred takes fifty times as long as the median.
    longest = BEYOND * reach([latency.p50 for latency in both])
    high = min(1.15 * reach([latency.edges[1] for latency in both]), longest)
    drawn = tuple(
        Strip(
            number=number,
            row=row,
            original=_steps(speed.original, high),
            candidate=_steps(speed.candidate, high),
            original_p50=min(100.0, 100 * speed.original.p50 / high),
            candidate_p50=min(100.0, 100 * speed.candidate.p50 / high),
            off=speed.candidate.p50 > high,
            slower=_slower(speed, high),
        )
        for number, row in timed
        if (speed := row.measurement.speed)
    )
    ticks = tuple(Tick(100 * value / high, f"{value:g}") for value in round_steps(0, high, 6))
    return drawn, ticks


def _slower(speed: Speed, high: float) -> str:
    """The shares of runs that took longer than what is drawn, and how long one in a hundred is."""
    its, others = (beyond(latency, high) for latency in (speed.candidate, speed.original))
    p99 = text.milliseconds(speed.candidate.p99)
    told = [f"{text.share(its)} of its runs (p99 {p99})"] if its > RARE else []
    told += [f"{text.share(others)} of the original's"] if others > RARE else []
    return f"slower than drawn: {', '.join(told)}" if told else ""


def beyond(latency: Latency, high: float) -> float:
    """The share of runs that took longer than `high` ms, or than the histogram reaches."""
    bins = len(latency.histogram)
    width = (latency.edges[1] - latency.edges[0]) / max(bins, 1)
    drawn = [
        count
        for index, count in enumerate(latency.histogram)
        if latency.edges[0] + index * width < high
    ]
    return 1 - sum(drawn) / latency.runs if latency.runs else 0.0


def _steps(latency: Latency, high: float) -> str:
    """A histogram as the outline of its steps, its peak at full height."""
    peak = max(latency.histogram, default=0)
    if peak == 0:
        return ""
    low, top = latency.edges
    bin_width = (top - low) / len(latency.histogram)
    across = [
        min(1000.0, 1000 * (low + i * bin_width) / high) for i in range(len(latency.histogram) + 1)
    ]
    path = [f"M{across[0]:.1f},60"]
    for index, count in enumerate(latency.histogram):
        path.append(f"V{60 - 56 * count / peak:.1f}H{across[index + 1]:.1f}")
    return "".join([*path, "V60Z"])
