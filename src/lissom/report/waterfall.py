"""What each step of a recipe cost and bought, as bars that float from stage to stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lissom.report import text
from lissom.report.axes import TIMES, UNITS, Axis, Kind, judged, limit_of, size_unit, typed
from lissom.report.labels import shortened
from lissom.report.pace import Pace, pace
from lissom.report.results import Results, Row
from lissom.report.stages import KINDS, Change, changes, value_of

# Wide: the stages' names once at the left, panels side by side, numbers right of the bars.
WIDE, NAMES, PITCH, NUMBERS, GUTTER = 1110.0, 168.0, 46.0, 88.0, 28.0
# Narrow: panels below each other, name and numbers above each bar.
NARROW, STEP = 344.0, 40.0
BAR, TIP, HEAD, FOOT = 18.0, 6.0, 30.0, 30.0

Frame = tuple[float, float, float, float]  # left, right, top, height of a row


@dataclass(frozen=True)
class Mark:
    """One bar of a panel and what is written beside it; `kind` is its class in the page.

    `path` is empty where the stage was not measured. `whisker` is the interval's ends; `link`
    joins the bar to the end of the one before it: x, top and bottom.
    """

    name: str
    kind: str
    path: str
    whisker: tuple[float, float] | None
    link: tuple[float, float, float] | None
    middle: float
    value: str
    value_at: tuple[float, float]
    change: str
    change_at: tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """One quantity of all stages."""

    title: str
    left: float
    right: float
    top: float
    bottom: float
    ticks: tuple[tuple[float, str], ...]
    cut: bool
    limit: float | None
    limit_label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Waterfall:
    """The drawing; `names` are heights and names of stages, where they stand once for all."""

    width: float
    height: float
    panels: tuple[Panel, ...]
    names: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class _Bar:
    """A bar in the scale's unit; a total has no `start`, an unmeasured stage no `end`."""

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
        panels.append(
            _panel(_scale(results, kind, bars), bars, (left, right, top, pitch), wide=wide)
        )
    names = [shortened(bar.name, 24) for bar in _bars(results, "size", [None] * len(told))]
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
    told, kept = [], pace(results)
    for row, stage in zip(results.rows, changes(results), strict=True):
        parts = [
            f"{kind} {_written(row, kind, kept)} ({change.words}"
            f"{'' if change.direction == 'even' else ', ' + change.direction})"
            for kind, change in stage.items()
        ]
        told.append(f"{row.name}: {', '.join(parts) or 'not measured'}")
    return "; ".join(told)


def _bars(results: Results, kind: Kind, told: Sequence[Change | None]) -> list[_Bar]:
    """The original, the stages and the result, from top to bottom."""
    original, kept = results.original, pace(results)
    unit = _unit(results, kind)[1]
    bars = [_total("original", original, kind, unit, "", kept)]
    for row, change in zip(results.rows, told, strict=True):
        if change is None:
            words = _written(row, kind, kept) or "not measured"
            bars.append(_Bar(row.name, "even", None, None, None, words, ""))
            continue
        bars.append(
            _Bar(
                name=row.name,
                kind=change.direction,
                start=change.before / unit,
                end=change.after / unit,
                interval=judged(row) if kind == "quality" else None,
                value=_written(row, kind, kept),
                change=change.words,
            )
        )
    last = results.rows[-1]
    return [*bars, _total("result", last, kind, unit, _in_all(original, last, kind), kept)]


def _unit(results: Results, kind: Kind) -> tuple[str, float]:
    """The unit of a panel's scale, and how much of the record's it is."""
    if kind != "size":
        return pace(results).unit if kind == "latency" else "", 1.0
    rows = (results.original, *results.rows)
    return size_unit(max(row.measurement.footprint.bytes for row in rows))


def _total(name: str, row: Row, kind: Kind, unit: float, change: str, kept: Pace) -> _Bar:
    interval = judged(row) if kind == "quality" and name == "result" else None
    value = value_of(row, kind, kept)
    end = None if value is None else value / unit
    words = _written(row, kind, kept) or "not measured"
    return _Bar(name, name, None, end, interval, words, change)


def _in_all(original: Row, last: Row, kind: Kind) -> str:
    """What all steps together did to a quantity."""
    before, after = original.measurement, last.measurement
    if kind == "size":
        return text.times(before.footprint.bytes / after.footprint.bytes, "smaller")
    if kind == "latency":
        words = text.speed_up(after.speed) if after.speed else ""
        return "noisy" if words == "too noisy to tell" else words.removeprefix("the ")
    return f"drop {text.drop(after.quality)}" if after.quality else ""


def _written(row: Row, kind: Kind, kept: Pace) -> str:
    quality, value = row.measurement.quality, value_of(row, kind, kept)
    if kind == "quality":
        return text.score(quality.value.value) if quality else ""
    if value is None:
        return ""
    return text.size(round(value)) if kind == "size" else kept.written(value)


def _scale(results: Results, kind: Kind, bars: Sequence[_Bar]) -> Axis:
    """An amount's scale starts at zero; the quality's does where that hides nothing."""
    seen = [value for bar in bars for value in (bar.start, bar.end, *(bar.interval or ()))]
    known = [value for value in seen if value is not None]
    label = f"budget {typed(results.budget, 'drop' if kind == 'quality' else kind)}"
    if kind == "quality":
        return _quality_scale(results, known, label)
    unit, scale = _unit(results, kind)
    title = f"{kind}, {unit}"
    units = {name: UNITS[name] / scale for name in UNITS} if kind == "size" else TIMES
    limit = limit_of(results.budget, kind, units)
    kept = pace(results)
    if kind == "latency" and limit is not None:
        split = any(kept.splits(row, limit) for row in results.rows)
        limit = limit if kept.steady and not split else None
    high = max(known)
    if limit is not None and high < limit <= 1.5 * high:
        high = limit
    return Axis(kind, title, (), (), 0.0, high, limit, label)


def _quality_scale(results: Results, known: Sequence[float], label: str) -> Axis:
    quality = next(q for row in results.rows if (q := row.measurement.quality))
    before, points = quality.original.value, text.in_points(quality)
    allowed = limit_of(results.budget, "drop", {"pt": 0.01, "%": abs(before) / 100})
    limit = None
    if allowed is not None:
        limit = before - allowed if quality.higher_is_better else before + allowed
        known = [*known, limit]
    low, high = min(known), max(known)
    span = max(high - low, 0.01 if points else 0.01 * abs(before)) or 1e-9
    low, high = (0.0 if 0 <= low <= high / 2 else low - 0.25 * span), max(high, low + span)
    title, ceiling = text.metric_label(quality), 1.0 if points else math.inf
    return Axis("quality", title, (), (), low, high, limit, label, ceiling=ceiling)


def _panel(scale: Axis, bars: Sequence[_Bar], frame: Frame, *, wide: bool) -> Panel:
    left, right, top, pitch = frame
    marks: list[Mark] = []
    end: tuple[float, float] | None = None
    for index, bar in enumerate(bars):
        start = top + HEAD + index * pitch
        middle = start + (pitch / 2 if wide else pitch - BAR / 2 - 4)
        x = None if bar.end is None else scale.place(bar.end, left, right)
        marks.append(
            Mark(
                name=shortened(bar.name, 24),
                kind=bar.kind,
                path="" if x is None else _path(_start(bar, scale, frame), x, middle, bar),
                whisker=_ends(bar, scale, frame),
                link=(end[0], end[1] + BAR / 2, middle - BAR / 2) if end and x else None,
                middle=middle,
                value=bar.value,
                value_at=(right + 10, middle - 3) if wide else (right - 84, start + 13),
                change=bar.change,
                change_at=(right + 10, middle + 12) if wide else (right, start + 13),
            )
        )
        end = end if x is None else (x, middle)
    limit = scale.limit if scale.limit is not None and scale.shows(scale.limit) else None
    return Panel(
        title=scale.title,
        left=left,
        right=right,
        top=top + HEAD,
        bottom=top + HEAD + len(bars) * pitch,
        ticks=tuple(
            (scale.place(value, left, right), f"{value:.6g}")
            for value in scale.ticks(3 if wide else 4)
        ),
        cut=not scale.low <= 0 <= scale.high,
        limit=None if limit is None else scale.place(limit, left, right),
        limit_label=scale.limit_label,
        marks=tuple(marks),
    )


def _start(bar: _Bar, scale: Axis, frame: Frame) -> float:
    """Where a bar begins: at the stage before, or at zero or the cut end of the scale."""
    return scale.place(bar.start or 0.0, frame[0], frame[1])


def _ends(bar: _Bar, scale: Axis, frame: Frame) -> tuple[float, float] | None:
    if bar.interval is None:
        return None
    low, high = (scale.place(value, frame[0], frame[1]) for value in bar.interval)
    return low, high


def _path(start: float, end: float, middle: float, bar: _Bar) -> str:
    """The outline: a plain bar for a total, one that points at its end for a step."""
    top, bottom = middle - BAR / 2, middle + BAR / 2
    tip = 0.0 if bar.start is None else math.copysign(min(TIP, abs(end - start)), end - start)
    if abs(end - start) < 2.0:
        start, end, tip = end - 1, end + 1, 0.0
    shoulder = end - tip
    return (
        f"M{start:.1f},{top:.1f}H{shoulder:.1f}L{end:.1f},{middle:.1f}"
        f"L{shoulder:.1f},{bottom:.1f}H{start:.1f}Z"
    )
