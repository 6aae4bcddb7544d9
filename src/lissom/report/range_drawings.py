"""What was seen of a layer's input beside the range of its codes, as plain geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lissom.report.diagnosis import Channels, Grid

WIDE, HIGH = 1000.0, 60.0


@dataclass(frozen=True)
class RangeDrawing:
    """A histogram in a box of 1000 x 60, its heights logarithmic, the peak at full height.

    `inside` and `outside` are the outlines of the bins within the range of the codes and beyond
    it; `start` and `end` are the range's ends and `zero` the place of zero, in percent of the
    width, None where that lies outside of the drawing.
    """

    inside: str
    outside: str
    start: float
    end: float
    zero: float | None
    low: float
    high: float


@dataclass(frozen=True)
class ChannelDrawing:
    """All channels in a row, those that hold the range marked: places and width in percent."""

    places: tuple[float, ...]
    width: float


def range_drawing(grid: Grid) -> RangeDrawing | None:
    """The histogram with the range, None where what was seen is no numbers."""
    ends = (grid.low, grid.high, grid.clip_low, grid.clip_high)
    if not all(map(math.isfinite, ends)) or not grid.counts:
        return None
    low, high = min(grid.low, grid.clip_low), max(grid.high, grid.clip_high)
    if high <= low:
        return None
    # A margin, so that neither end of the range is lost in the edge.
    low, high = low - 0.02 * (high - low), high + 0.02 * (high - low)

    def across(value: float) -> float:
        return WIDE * (value - low) / (high - low)

    peak = max(grid.counts)
    inside: list[str] = []
    outside: list[str] = []
    width = (grid.high - grid.low) / len(grid.counts)
    for index, count in enumerate(grid.counts):
        if count <= 0:
            continue
        start = grid.low + index * width
        left, right = across(start), across(start + width)
        # A bin of one value has no width of its own.
        right = max(right, left + 1.5)
        middle = start + width / 2
        bar = f"M{left:.1f},60V{HIGH - _height(count, peak):.1f}H{right:.1f}V60Z"
        kept = grid.clip_low <= middle <= grid.clip_high
        (inside if kept else outside).append(bar)
    return RangeDrawing(
        inside="".join(inside),
        outside="".join(outside),
        start=across(grid.clip_low) / 10,
        end=across(grid.clip_high) / 10,
        zero=across(0.0) / 10 if low < 0 < high else None,
        low=low,
        high=high,
    )


def channel_drawing(channels: Channels) -> ChannelDrawing:
    """Where the channels that hold the range are among all."""
    each = 100 / max(1, channels.count)
    places = tuple(sorted(each * index for index in channels.worst if 0 <= index < channels.count))
    return ChannelDrawing(places, max(each, 0.5))


def _height(count: int, peak: int) -> float:
    """At least a tenth of the box for a single value: it may be the one that is clipped."""
    if peak <= 1:
        return 54.0
    return 6.0 + 48.0 * math.log(count) / math.log(peak)
