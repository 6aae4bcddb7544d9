"""Where everything in the page's charts stands: plain geometry, drawn by page.html.j2 as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lissom.measurement.records import Latency
from lissom.report.axes import Axis, Kind, axis, reach, round_steps
from lissom.report.results import Results, Row

PAIRS: tuple[tuple[Kind, Kind, Kind | None], ...] = (
    ("latency", "quality", "size"),
    ("size", "quality", "latency"),
    ("size", "latency", None),
)
LETTER = 6.6  # the usual width of a letter of a label, for keeping labels apart
RADIUS = (8.0, 17.0)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Point:
    """One file on a plot, by its row's number. `off`: beyond the scale, drawn at its edge."""

    number: int
    row: Row
    x: float
    y: float
    radius: float
    bar: tuple[float, float] | None
    off: bool
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Limit:
    """A constraint of the budget as a line across the plot."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str


@dataclass(frozen=True)
class Plot:
    """Two quantities against each other, and by the size of the dots a third."""

    title: str
    x_title: str
    y_title: str
    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    front: str
    limits: tuple[Limit, ...]
    better: str
    key: str


@dataclass(frozen=True)
class Strip:
    """The latency of one candidate over the original's, drawn in a box of 1000 x 60."""

    number: int
    row: Row
    original: str
    candidate: str
    original_p50: float
    candidate_p50: float


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
    high = 1.15 * reach([latency.p99 for latency in both])
    drawn = tuple(
        Strip(
            number=number,
            row=row,
            original=_steps(speed.original, high),
            candidate=_steps(speed.candidate, high),
            original_p50=min(100.0, 100 * speed.original.p50 / high),
            candidate_p50=min(100.0, 100 * speed.candidate.p50 / high),
        )
        for number, row in timed
        if (speed := row.measurement.speed)
    )
    ticks = tuple(Tick(100 * value / high, f"{value:g}") for value in round_steps(0, high, 6))
    return drawn, ticks


def _plot(rows: Sequence[Row], x: Axis, y: Axis, area: Axis | None, *, wide: bool) -> Plot:
    width, height = (760, 430) if wide else (360, 380)
    left, right, top, bottom = frame = 62.0, width - 16.0, 18.0, height - 48.0
    # Up is better for quality, whichever way its metric runs; less is down for the others.
    falls = y.kind == "quality" and not y.higher_is_better
    up = (top, bottom) if falls else (bottom, top)
    spots = _spots(rows, x, y, area, frame, up)
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
            Tick(x.place(value, left, right), f"{value:.6g}") for value in x.ticks(6 if wide else 4)
        ),
        y_ticks=tuple(Tick(y.place(value, *up), f"{value:.6g}") for value in y.ticks(5)),
        points=_labelled(spots, frame, named=wide),
        front=_front(spots, up_is_better=y.kind == "quality"),
        limits=_limits(x, y, frame, up),
        better=f"Better is left and {'up' if y.kind == 'quality' else 'down'}.",
        key=_key(area, any(spot.off for spot in spots), bars=any(spot.bar for spot in spots)),
    )


def _spots(
    rows: Sequence[Row], x: Axis, y: Axis, area: Axis | None, frame: Box, up: tuple[float, float]
) -> list[Point]:
    """The rows that have both quantities, without labels yet."""
    spots = []
    for number, (row, across, high, bar) in enumerate(
        zip(rows, x.values, y.values, y.bars, strict=True)
    ):
        if across is None or high is None:
            continue
        off = not (x.shows(across) and y.shows(high))
        spots.append(
            Point(
                number=number,
                row=row,
                x=x.place(across, frame[0], frame[1]),
                y=y.place(high, *up),
                radius=_radius(area, number),
                bar=(y.place(bar[0], *up), y.place(bar[1], *up)) if bar and not off else None,
                off=off,
            )
        )
    return spots


def _key(area: Axis | None, off: bool, *, bars: bool) -> str:
    told = []
    if area is not None:
        told.append(f"The larger the mark, the larger its {area.kind}.")
    if bars:
        told.append("Upright strokes are 95 % intervals.")
    if off:
        told.append("A dashed mark at the edge lies beyond the scale.")
    return " ".join(told)


def _radius(area: Axis | None, number: int) -> float:
    value = area.values[number] if area else None
    if area is None or value is None:
        return 9.0
    return RADIUS[0] + (RADIUS[1] - RADIUS[0]) * math.sqrt(min(value / area.high, 1.0))


def _limits(x: Axis, y: Axis, frame: Box, up: tuple[float, float]) -> tuple[Limit, ...]:
    left, right, top, bottom = frame
    lines = []
    if x.limit is not None and x.shows(x.limit):
        at = x.place(x.limit, left, right)
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


def _labelled(spots: Sequence[Point], frame: Box, *, named: bool) -> tuple[Point, ...]:
    """The points with their names beside them where there is room for a name."""
    taken = [(s.x - s.radius, s.y - s.radius, s.x + s.radius, s.y + s.radius) for s in spots]
    done = []
    for spot in sorted(spots, key=lambda s: (not s.row.chosen, s.number)):
        labelled, box = _beside(spot, frame, taken) if named else (spot, None)
        if box is not None:
            taken.append(box)
        done.append(labelled)
    # What matters is drawn last, above the rest, and small marks above large ones.
    return tuple(sorted(done, key=lambda s: (s.row.chosen, s.row.on_front, -s.radius)))


def _beside(spot: Point, frame: Box, taken: Sequence[Box]) -> tuple[Point, Box | None]:
    """The point with its name where nothing else stands, or without one."""
    label = shortened(spot.row.name, 30)
    left, right, top, bottom = frame
    long, away = LETTER * len(label), spot.radius + 6
    for dx, dy, anchor in (
        (away, 4.0, "start"),
        (-away, 4.0, "end"),
        (0.0, -away, "middle"),
        (0.0, away + 9, "middle"),
        (away * 0.7, -away * 0.8, "start"),
        (away * 0.7, away * 0.8 + 8, "start"),
        (-away * 0.7, -away * 0.8, "end"),
        (-away * 0.7, away * 0.8 + 8, "end"),
    ):
        x, y = spot.x + dx, spot.y + dy
        start = x - {"start": 0.0, "middle": long / 2, "end": long}[anchor]
        box = (start, y - 11, start + long, y + 3)
        inside = box[0] >= left and box[2] <= right and box[1] >= top and box[3] <= bottom
        if inside and not any(_overlap(box, other) for other in taken):
            return replace(spot, label=label, label_x=x, label_y=y, anchor=anchor), box
    return spot, None


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def shortened(name: str, most: int) -> str:
    """A name of at most so many letters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


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
