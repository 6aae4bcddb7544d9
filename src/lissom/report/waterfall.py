"""What each step of a recipe cost and bought, as bars that float from stage to stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lissom.report import text
from lissom.report.axes import TIMES, UNITS, Axis, Kind, limit_of, typed
from lissom.report.results import Results, Row
from lissom.report.stages import KINDS, Change, changes, value_of

# Wide: the stages' names once at the left, panels side by side, numbers right of the bars.
WIDE, NAMES, PITCH, NUMBERS, GUTTER = 1110.0, 168.0, 46.0, 88.0, 28.0
# Narrow: panels below each other, name and numbers above each bar.
NARROW, STEP = 344.0, 40.0
BAR, TIP, HEAD, FOOT = 18.0, 6.0, 30.0, 30.0


@dataclass(frozen=True)
class Mark:
    """One bar of a panel and what is written beside it; `kind` is its class in the page.

    `path` is empty and `value` says why where the stage was not measured. `link` joins the bar to
    the end of the one before it: x, top and bottom.
    """

    kind: str
    path: str
    cut: str
    whisker: tuple[float, float] | None
    link: tuple[float, float, float] | None
    middle: float
    name: str
    value: str
    change: str
    number_y: tuple[float, float]
    number_x: tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """One quantity of all stages."""

    title: str
    left: float
    right: float
    top: float
    bottom: float
    ticks: tuple[tuple[float, str], ...]
    limit: float | None
    limit_label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Waterfall:
    """The drawing; `names` are the stages' at their heights where they stand once for all panels."""

    width: float
    height: float
    panels: tuple[Panel, ...]
    names: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class _Bar:
    """A bar in the quantity's unit; a total has no `start`, an unmeasured stage no `end`."""

    name: str
    kind: str
    start: float | None
    end: float | None
    interval: tuple[float, float] | None
    value: str
    change: str


def waterfall(results: Results, *, wide: bool) -> Waterfall | None:
    """Size, latency and quality of the original, after each step and of the result."""
    told = changes(results)
    shown: list[Kind] = [kind for kind in KINDS if any(kind in stage for stage in told)]
    if not shown:
        return None
    rows = len(results.rows) + 2
    pitch = PITCH if wide else STEP
    tall = HEAD + rows * pitch + FOOT
    panels = []
    for index, kind in enumerate(shown):
        room = (WIDE - NAMES) / len(shown)
        left = NAMES + index * room if wide else 0.0
        right = left + room - GUTTER - NUMBERS if wide else NARROW
        top = 0.0 if wide else index * tall
        bars = _bars(results, kind, [stage.get(kind) for stage in told])
        panels.append(_panel(_scale(results, kind, bars), bars, (left, right, top, pitch), wide))
    names = [_short(bar.name) for bar in _bars(results, "size", [None] * len(told))]
    return Waterfall(
        width=WIDE if wide else NARROW,
        height=tall if wide else tall * len(shown),
        panels=tuple(panels),
        names=tuple((HEAD + (i + 0.5) * pitch, name) for i, name in enumerate(names))
        if wide
        else (),
    )


def description(results: Results) -> str:
    """The drawing in words, for those who cannot see it."""
    told = []
    for row, stage in zip(results.rows, changes(results), strict=True):
        parts = [
            f"{kind} {_written(row, kind)} ({change.words}"
            f"{'' if change.direction == 'even' else ', ' + change.direction})"
            for kind, change in stage.items()
        ]
        told.append(f"{row.name}: {', '.join(parts) or 'not measured'}")
    return "; ".join(told)


def _bars(results: Results, kind: Kind, told: Sequence[Change | None]) -> list[_Bar]:
    """The original, the stages and the result, from top to bottom."""
    original = results.original
    bars = [_total("original", original, kind, "")]
    for row, change in zip(results.rows, told, strict=True):
        if change is None:
            words = _written(row, kind) or "not measured"
            bars.append(_Bar(row.name, "even", None, None, None, words, ""))
            continue
        bars.append(
            _Bar(
                name=row.name,
                kind=change.direction,
                start=change.before,
                end=change.after,
                interval=_interval(row) if kind == "quality" else None,
                value=_written(row, kind),
                change=change.words,
            )
        )
    last = results.rows[-1]
    return [*bars, _total("result", last, kind, _in_all(original, last, kind))]


def _total(name: str, row: Row, kind: Kind, change: str) -> _Bar:
    interval = _interval(row) if kind == "quality" and name == "result" else None
    words = _written(row, kind) or "not measured"
    return _Bar(name, name, None, value_of(row, kind), interval, words, change)


def _in_all(original: Row, last: Row, kind: Kind) -> str:
    """What all steps together did to a quantity."""
    before, after = original.measurement, last.measurement
    if kind == "size":
        return text.times(before.footprint.bytes / after.footprint.bytes, "smaller")
    if kind == "latency":
        words = text.speed_up(after.speed) if after.speed else ""
        return "noisy" if words == "too noisy to tell" else words.removeprefix("the ")
    return f"drop {text.drop(after.quality)}" if after.quality else ""


def _written(row: Row, kind: Kind) -> str:
    quality, value = row.measurement.quality, value_of(row, kind)
    if kind == "quality":
        return text.score(quality.value.value) if quality else ""
    if value is None:
        return ""
    return text.size(round(value)) if kind == "size" else text.milliseconds(value)


def _interval(row: Row) -> tuple[float, float] | None:
    """Where the interval of the drop puts the value, the original's taken as it is."""
    quality = row.measurement.quality
    if quality is None or not math.isfinite(quality.drop.low + quality.drop.high):
        return None
    sign = 1.0 if quality.higher_is_better else -1.0
    ends = [quality.original.value - sign * end for end in (quality.drop.low, quality.drop.high)]
    return min(ends), max(ends)


def _scale(results: Results, kind: Kind, bars: Sequence[_Bar]) -> Axis:
    """An amount's scale starts at zero; the quality's does where that hides nothing."""
    # Sizes and times are drawn in the units of the titles.
    divisor = 1e6 if kind == "size" else 1.0
    seen = [value for bar in bars for value in (bar.start, bar.end, *(bar.interval or ()))]
    known = [value / divisor for value in seen if value is not None]
    low, high, ceiling, limit = 0.0, max(known), math.inf, None
    title, label = "size, MB", f"budget {typed(results.budget, kind)}"
    if kind == "size":
        limit = limit_of(results.budget, kind, {unit: UNITS[unit] / 1e6 for unit in UNITS})
    elif kind == "latency":
        title = "latency p50, ms"
        limit = limit_of(results.budget, kind, TIMES)
    else:
        quality = next(q for row in results.rows if (q := row.measurement.quality))
        before = quality.original.value
        title, label = text.metric_label(quality), f"drop {typed(results.budget, 'drop')}"
        allowed = limit_of(results.budget, "drop", {"pt": 0.01, "%": abs(before) / 100})
        if allowed is not None:
            limit = before - allowed if quality.higher_is_better else before + allowed
            known.append(limit)
        low, high = _around(known, 0.01 if text.in_points(quality) else 0.01 * abs(before))
        ceiling = 1.0 if text.in_points(quality) else math.inf
    if limit is not None and high < limit <= 1.5 * high:
        high = limit
    return Axis(kind, title, (), (), low, high, limit, label, ceiling=ceiling)


def _around(values: Sequence[float], least: float) -> tuple[float, float]:
    """The ends of a scale that shows the differences between values."""
    low, high = min(values), max(values)
    span = max(high - low, least) or 1e-9
    if low >= 0 and low <= high / 2:
        return 0.0, high
    return low - 0.25 * span, max(high, low + span)


def _panel(
    scale: Axis, bars: Sequence[_Bar], frame: tuple[float, float, float, float], wide: bool
) -> Panel:
    left, right, top, pitch = frame
    divisor = 1e6 if scale.kind == "size" else 1.0

    def place(value: float) -> float:
        return scale.place(value / divisor, left, right)

    marks, end = [], None
    for index, bar in enumerate(bars):
        start = top + HEAD + index * pitch
        middle = start + (pitch / 2 if wide else pitch - BAR / 2 - 4)
        link = None
        if end is not None and bar.end is not None:
            link = (place(end[0]), end[1] + BAR / 2, middle - BAR / 2)
        marks.append(_mark(bar, scale, place, link, middle, (left, right, start), wide))
        if bar.end is not None:
            end = (bar.end, middle)
    count = 3 if wide else 4
    cut = scale.kind == "quality" and not scale.low <= 0 <= scale.high
    return Panel(
        title=scale.title + (", scale cut" if cut else ""),
        left=left,
        right=right,
        top=top + HEAD,
        bottom=top + HEAD + len(bars) * pitch,
        ticks=tuple((scale.place(value, left, right), f"{value:.6g}") for value in scale.ticks(count)),
        limit=scale.place(scale.limit, left, right)
        if scale.limit is not None and scale.shows(scale.limit)
        else None,
        limit_label=scale.limit_label,
        marks=tuple(marks),
    )
