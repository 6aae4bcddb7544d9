"""The report as one HTML file that needs nothing from outside: no script, font or picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from lissom.report import charts, text
from lissom.report.axes import Kind, latency_of
from lissom.report.results import Results, Row
from lissom.report.stages import Change, changes
from lissom.report.waterfall import Waterfall, description, waterfall


@dataclass(frozen=True)
class Cells:
    """One row of the page's table in words; empty where nothing was measured.

    `step` is what the last step of a stage changed; `name` is without the number that stands
    beside it.
    """

    number: int
    row: Row
    name: str
    step: dict[Kind, Change]
    size: str
    smaller: str
    p50: str
    p95: str
    throughput: str
    speed: str
    speed_interval: str
    quality: str
    drop: str
    drop_interval: str
    memory: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """One gain of the chosen file: before, after, and both as shares of the larger."""

    title: str
    headline: str
    before: str
    after: str
    before_share: float
    after_share: float


def render_page(results: Results) -> str:
    """The whole report as HTML; everything the user named is escaped."""
    strips, strip_ticks = charts.strips(results)
    rows = (results.original, *results.rows)
    recipe = results.kind == "recipe"
    steps = ({}, *changes(results)) if recipe else ({},) * len(rows)
    return _template().render(
        results=results,
        sentence=results.sentence.replace(" -> ", "\N{NO-BREAK SPACE}→ "),
        recipe=recipe,
        rows=[
            cells(number, row, results.original, step)
            for number, (row, step) in enumerate(zip(rows, steps, strict=True))
        ],
        tiles=tiles(results),
        waterfalls=_waterfalls(results) if recipe else (),
        waterfall_words=description(results) if recipe else "",
        # Stages are not rivals, so that a recipe has no trade-off to show.
        plots=()
        if recipe
        else tuple(
            zip(charts.plots(results, wide=True), charts.plots(results, wide=False), strict=True)
        ),
        strips=strips,
        strip_ticks=strip_ticks,
        facts=facts(results),
        quality=next((r.measurement.quality for r in results.rows if r.measurement.quality), None),
        unseen=text.unseen(results),
        metric_label=text.metric_label,
        in_points=text.in_points,
        conditions=text.conditions(results.settings),
    )


def _waterfalls(results: Results) -> tuple[tuple[str, Waterfall], ...]:
    """The drawing for each width of the window."""
    drawn = (("wide", waterfall(results, wide=True)), ("narrow", waterfall(results, wide=False)))
    return tuple((width, drawing) for width, drawing in drawn if drawing is not None)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(_packaged),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _packaged(name: str) -> str:
    return resources.files("lissom.report").joinpath(name).read_text(encoding="utf-8")


def cells(number: int, row: Row, original: Row, step: dict[Kind, Change]) -> Cells:
    """A row's numbers in words."""
    measured, is_original = row.measurement, row is original
    speed, quality, footprint = measured.speed, measured.quality, measured.footprint
    latency = latency_of(row)
    shrunk = original.measurement.footprint.bytes / footprint.bytes
    return Cells(
        number=number,
        row=row,
        name=row.name.removeprefix(f"{number} ") if step else row.name,
        step=step,
        size=text.size(footprint.bytes),
        smaller="" if is_original else text.times(shrunk, "smaller"),
        p50=text.milliseconds(latency.p50) if latency else text.NOT_HERE,
        p95=text.milliseconds(latency.p95) if latency else "",
        throughput=f"{latency.throughput:,.0f}" if latency else "",
        speed=text.ratio(speed.ratio.value) if speed else "",
        speed_interval=text.speed_interval(speed.ratio) if speed else "",
        quality=text.score(quality.value.value) if quality else "",
        drop=text.drop(quality) if quality and not is_original else "",
        drop_interval=text.drop_interval(quality) if quality and not is_original else "",
        memory=text.size(footprint.peak_memory) if footprint.peak_memory else "",
        remarks=text.remarks(row),
    )


def tiles(results: Results) -> tuple[Tile, ...]:
    """The chosen file beside the original, one tile for each thing that was measured of both."""
    if results.chosen is None:
        return ()
    before, after = results.original.measurement, results.chosen.measurement
    old, new, speed, quality = before.footprint, after.footprint, after.speed, after.quality
    told = [_tile("Size", text.times(old.bytes / new.bytes, "smaller"), old.bytes, new.bytes)]
    if speed:
        p50 = speed.original.p50, speed.candidate.p50
        told.append(_tile("Latency", text.speed_up(speed), *p50, text.milliseconds))
    if quality:
        values = quality.original.value, quality.value.value
        label = text.metric_label(quality)
        told.append(_tile(label.capitalize(), f"drop {text.drop(quality)}", *values, text.score))
    if old.peak_memory and new.peak_memory:
        headline = text.times(old.peak_memory / new.peak_memory, "less")
        told.append(_tile("Peak memory", headline, old.peak_memory, new.peak_memory))
    return tuple(told)


def facts(results: Results) -> tuple[tuple[str, str], ...]:
    """Where, on what and how it was measured."""
    machine, settings = results.machine, results.settings
    told = [
        ("Model", results.model),
        ("Task", results.task),
        ("Target", results.target),
        ("Processor", f"{machine.cpu} ({machine.architecture}), {machine.cores} cores"),
        ("Instructions that matter", ", ".join(machine.features) or "none known to lissom"),
        ("Memory", f"{machine.memory / 2**30:.1f} GiB" if machine.memory else "unknown"),
        ("System", f"{machine.system}, Python {machine.python}, lissom {results.lissom}"),
        ("One run", text.conditions(settings)),
        (
            "Timing",
            f"{settings.processes} fresh processes of {settings.seconds:g} s, original and "
            f"{'stage' if results.kind == 'recipe' else 'candidate'} in turns",
        ),
        *((("Objective", results.objective),) if results.kind == "search" else ()),
        ("Budget", ", ".join(f"{k} {v}" for k, v in results.budget.items()) or "none given"),
        ("Took", text.duration(results.seconds)),
    ]
    return tuple(told)


def _tile(
    title: str,
    headline: str,
    before: float,
    after: float,
    form: Callable[[Any], str] = text.size,
) -> Tile:
    """Both amounts and their bars, the larger one at full length."""
    full = max(abs(before), abs(after)) or 1.0
    shares = (max(0.0, min(100.0, 100 * value / full)) for value in (before, after))
    return Tile(title, headline, form(before), form(after), *shares)
