"""Where everything in the page's charts stands: plain geometry, drawn by page.html.j2 as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lissom.report.axes import Axis, Kind, axis
from lissom.report.frame import Frame, Tick
from lissom.report.labels import LETTER, Box, Limit, Point, labelled
from lissom.report.results import Results, Row

PAIRS: tuple[tuple[Kind, Kind, Kind | None], ...] = (
    ("latency", "quality", "size"),
    ("size", "quality", "latency"),
    ("size", "latency", None),
)
FAR_OFF = "far off"  # stands in a tick's place where a scale is broken
BEYOND = 40.0  # room past a break in a scale for what lies beyond it
RADIUS = (8.0, 17.0)


@dataclass(frozen=True)
class Plot(Frame):
    """Two quantities against each other, and by the size of the dots a third.

    `x_break` and `y_break` are where a scale is broken because files lie far beyond it, or None.
    """

    title: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    front: str
    limits: tuple[Limit, ...]
    x_break: float | None
    y_break: float | None
    better: str
    key: str


def plots(results: Results, *, wide: bool) -> tuple[Plot, ...]:
    """Every pair of measured quantities, the most telling first."""
    rows = (results.original, *results.rows)
    axes: dict[Kind | None, Axis | None] = {
        "size": axis(results, "size"),
        "latency": axis(results, "latency"),
        "quality": axis(results, "quality"),
    }
    return tuple(
        _plot(rows, x, y, axes.get(third), wide=wide)
        for across, up, third in PAIRS
        if (x := axes[across]) and (y := axes[up])
    )


def _plot(rows: Sequence[Row], x: Axis, y: Axis, area: Axis | None, *, wide: bool) -> Plot:
    width, height = (760, 430) if wide else (360, 380)
    # Up is better for quality, whichever way its metric runs; less is down for the others.
    falls = y.kind == "quality" and not y.higher_is_better
    shown = [
        (across, high)
        for across, high in zip(x.values, y.values, strict=True)
        if across is not None and high is not None
    ]
    cut_x = any(not x.shows(across) for across, _ in shown)
    cut_y = any(not y.shows(high) for _, high in shown)
    heights = [(value, f"{value:.6g}") for value in y.ticks(5)]
    # The title stands left of the ticks, however long they are.
    longest = max([*(len(label) for _, label in heights), len(FAR_OFF) * cut_y])
    left, right, top, bottom = frame = (
        max(62.0, 28 + LETTER * longest),
        width - 16.0,
        18.0,
        height - 48.0,
    )
    # What is off the scale is worse: to the right, and for quality below, for the others above.
    end = right - BEYOND * cut_x
    low = bottom - BEYOND * (cut_y and y.kind == "quality")
    high_end = top + BEYOND * (cut_y and y.kind != "quality")
    scale = (left, end, high_end, low)
    up = (high_end, low) if falls else (low, high_end)
    spots = _spots(rows, x, y, area, frame, scale, up)
    worse = low if y.kind == "quality" else high_end
    points, limits = labelled(spots, _limits(x, y, frame, scale, up), frame, named=wide)
    return Plot(
        title=f"{y.kind} and {x.kind}".capitalize(),
        x_title=x.title,
        y_title=y.title,
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=tuple(
            Tick(x.place(value, left, end), f"{value:.6g}") for value in x.ticks(6 if wide else 4)
        ),
        y_ticks=tuple(Tick(y.place(value, *up), label) for value, label in heights),
        points=points,
        front=_front(spots, up_is_better=y.kind == "quality"),
        limits=limits,
        x_break=end + 9 if cut_x else None,
        y_break=None if not cut_y else worse + (8 if y.kind == "quality" else -8),
        better=f"Better is left and {'up' if y.kind == 'quality' else 'down'}.",
        key=_key((x, y), area, any(spot.off for spot in spots), bars=any(s.bar for s in spots)),
    )


def _spots(
    rows: Sequence[Row],
    x: Axis,
    y: Axis,
    area: Axis | None,
    frame: Box,
    scale: Box,
    up: tuple[float, float],
) -> list[Point]:
    """The rows that have both quantities, without labels yet."""
    spots = []
    # Clear of the ticks' numbers.
    right, worst = frame[1] - 8, frame[3] - 12 if y.kind == "quality" else frame[2] + 8
    for number, (row, across, high, bar) in enumerate(
        zip(rows, x.values, y.values, y.bars, strict=True)
    ):
        if across is None or high is None:
            continue
        far, deep = not x.shows(across), not y.shows(high)
        off = far or deep
        spots.append(
            Point(
                number=number,
                row=row,
                x=right if far else x.place(across, scale[0], scale[1]),
                y=worst if deep else y.place(high, *up),
                radius=_radius(area, number),
                bar=_ends(bar, y, up) if bar and not off else None,
                off=off,
                beyond=", ".join(
                    f"{value:.3g}" for value, out in ((across, far), (high, deep)) if out
                ),
            )
        )
    return spots


def _ends(bar: tuple[float, float], y: Axis, up: tuple[float, float]) -> tuple[float, float] | None:
    """An interval as the ends of a stroke; none where it is no longer than a point."""
    one, other = (y.place(end, *up) for end in bar)
    return (one, other) if abs(one - other) > 1 else None


def _key(axes: Sequence[Axis], area: Axis | None, off: bool, *, bars: bool) -> str:
    told = []
    if area is not None:
        told.append(f"The larger the mark, the larger its {area.kind}.")
    if bars:
        told.append("Upright strokes are the 95 % intervals of the drop from the original.")
    if off:
        told.append("The scale is broken where it says so: a dashed mark lies far beyond it.")
    for one in axes:
        if one.note:
            told.append(one.note)
        if one.limit is not None and not one.shows(one.limit):
            told.append(f"Beyond the scale: {one.limit_label}.")
    return " ".join(told)


def _radius(area: Axis | None, number: int) -> float:
    value = area.values[number] if area else None
    if area is None or value is None:
        return 9.0
    return RADIUS[0] + (RADIUS[1] - RADIUS[0]) * math.sqrt(min(value / area.high, 1.0))


def _limits(x: Axis, y: Axis, frame: Box, scale: Box, up: tuple[float, float]) -> tuple[Limit, ...]:
    left, right, top, bottom = frame
    lines = []
    if x.limit is not None and x.shows(x.limit):
        at = x.place(x.limit, left, scale[1])
        lines.append(Limit(at, top, at, bottom, x.limit_label))
    if y.limit is not None and y.shows(y.limit):
        at = y.place(y.limit, *up)
        lines.append(Limit(left, at, right, at, y.limit_label))
    return tuple(lines)


def _front(spots: Sequence[Point], *, up_is_better: bool) -> str:
    """The staircase of the files that no other beats in both quantities shown."""
    sign = 1.0 if up_is_better else -1.0
    path: list[tuple[float, float]] = []
    for spot in sorted((spot for spot in spots if not spot.off), key=lambda s: (s.x, sign * s.y)):
        if path and sign * spot.y >= sign * path[-1][1]:
            continue
        if path:
            path.append((spot.x, path[-1][1]))
        path.append((spot.x, spot.y))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
