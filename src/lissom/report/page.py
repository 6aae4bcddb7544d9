"""The report as one HTML file that needs nothing from outside: no script, font or picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from lissom.artifact import Manifest
from lissom.report import charts, text
from lissom.report.axes import Kind
from lissom.report.front_chart import FrontChart, front_chart
from lissom.report.layer_bars import layer_bars
from lissom.report.mixed_words import mixed_words
from lissom.report.pace import Pace, latency_of, pace
from lissom.report.results import Results, Row
from lissom.report.runtimes import in_runtime, runtimes
from lissom.report.stages import Change, Direction, changes
from lissom.report.strips import strips
from lissom.report.template import template
from lissom.report.verdict import verdict
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
    """What became of one quantity: before, after, and both as shares of the larger."""

    title: str
    headline: str
    before: str
    after: str
    before_share: float
    after_share: float
    direction: Direction


@dataclass(frozen=True)
class Saved:
    """What lies in the folder beside the report; `other` is a file saved in the chosen one's place.

    `files` are names and SHA-256 digests.
    """

    built_for: str
    files: tuple[tuple[str, str], ...]
    recipe: str
    other: str


def render_page(results: Results, manifest: Manifest | None = None) -> str:
    """The whole report as HTML; everything the user named is escaped.

    Args:
        manifest: of the artifact beside the report; its digests and recipe are then told too.
    """
    names, several = runtimes(results), results
    # All but the tables below the first is of the first runtime.
    results = in_runtime(results, 0)
    drawn, strip_ticks = strips(results)
    kept = pace(results)
    rows = (results.original, *results.rows)
    recipe = results.kind == "recipe"
    steps = ({}, *changes(results)) if recipe else ({},) * len(rows)
    return template("page.html.j2").render(
        results=results,
        verdict=verdict(several),
        ran_in=results.target if len(names) == 1 else names[0],
        pace=kept,
        elsewhere=_elsewhere(several, names),
        sentence=_lead(results).replace(" -> ", "\N{NO-BREAK SPACE}→ "),
        recipe=recipe,
        rows=[
            cells(number, row, kept, step)
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
        strips=drawn,
        strip_ticks=strip_ticks,
        layers=layer_bars(results.layers),
        mixed=mixed_words(results),
        fronts=_fronts(results),
        artifact=None if manifest is None else saved(results, manifest),
        facts=facts(results),
        quality=next((r.measurement.quality for r in results.rows if r.measurement.quality), None),
        unseen=text.unseen(results),
        metric_label=lambda quality: text.titled(text.metric_label(quality)),
        in_points=text.in_points,
        conditions=text.conditions(results.settings),
    )


def _elsewhere(results: Results, names: Sequence[str]) -> list[tuple[str, list[Cells], str]]:
    """The rows of the table in words for each runtime but the first, and what to know of them."""
    found = []
    for place, name in enumerate(names[1:], start=1):
        there = in_runtime(results, place)
        rows, kept = (there.original, *there.rows), pace(there)
        told = [cells(number, row, kept, {}) for number, row in enumerate(rows)]
        found.append((name, told, kept.warning))
    return found


def _lead(results: Results) -> str:
    """The summary without what the page says in a box of its own below it."""
    if results.chosen is None or not results.chosen.unproven:
        return results.sentence
    return results.sentence.removesuffix(text.not_proven(results.chosen)).rstrip()


def _waterfalls(results: Results) -> tuple[tuple[str, Waterfall], ...]:
    """The drawing for each width of the window."""
    drawn = (("wide", waterfall(results, wide=True)), ("narrow", waterfall(results, wide=False)))
    return tuple((width, drawing) for width, drawing in drawn if drawing is not None)


def _fronts(results: Results) -> tuple[tuple[str, FrontChart], ...]:
    """The front of mixed precision for each width of the window."""
    drawn = [(name, front_chart(results, wide=name == "wide")) for name in ("wide", "narrow")]
    return tuple((width, drawing) for width, drawing in drawn if drawing is not None)


def cells(number: int, row: Row, kept: Pace, step: dict[Kind, Change]) -> Cells:
    """A row's numbers in words."""
    original = kept.original
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
        p50=kept.p50(row),
        # Of an original whose median wavers, the tail of one moment says nothing.
        p95=""
        if latency is None or (is_original and kept.wavering)
        else text.milliseconds(latency.p95),
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
    shrunk = text.times(old.bytes / new.bytes, "smaller")
    told = [_tile("Size", shrunk, (old.bytes, new.bytes), text.size, _toward(shrunk, "larger"))]
    if speed:
        known, words = text.in_turns(speed, before.latency), text.speed_up(speed)
        form: Callable[[float], str] = text.milliseconds if known else text.share
        p50 = known or (1.0, 1 / speed.ratio.value)
        told.append(_tile("Latency", words, p50, form, _toward(words, "slower")))
    if quality:
        values, lost = (quality.original.value, quality.value.value), quality.drop
        label, words = text.titled(text.metric_label(quality)), f"drop {text.drop(quality)}"
        direction: Direction = "worse" if lost.low > 0 else "better" if lost.high < 0 else "even"
        told.append(_tile(label, words, values, text.score, direction))
    if old.peak_memory and new.peak_memory:
        peaks = old.peak_memory, new.peak_memory
        words = text.times(old.peak_memory / new.peak_memory, "less")
        told.append(_tile("Peak memory", words, peaks, text.size, _toward(words, "more")))
    return tuple(told)


def saved(results: Results, manifest: Manifest) -> Saved:
    """What the manifest records that a reader of the report can use."""
    outcome = results.outcome
    recipe = yaml.safe_dump(manifest.recipe, sort_keys=False, allow_unicode=True)
    return Saved(
        built_for=f"{manifest.target} on {manifest.cpu}",
        files=tuple(manifest.files.items()),
        recipe=recipe,
        other="" if outcome is None or outcome.name == manifest.name else manifest.name,
    )


def facts(results: Results) -> tuple[tuple[str, str], ...]:
    """Where, on what and how it was measured."""
    machine, settings = results.machine, results.settings
    told = [
        ("Model", results.model),
        ("Task", results.task),
        ("Target", results.target),
        ("Processor", f"{machine.cpu} ({machine.architecture}), {machine.count_of_cores}"),
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
    values: tuple[float, float],
    form: Callable[[Any], str],
    direction: Direction,
) -> Tile:
    """Both amounts and their bars, the larger one at full length."""
    full = max(map(abs, values)) or 1.0
    before, after = (max(0.0, min(100.0, 100 * value / full)) for value in values)
    return Tile(title, headline, form(values[0]), form(values[1]), before, after, direction)


def _toward(words: str, worse: str) -> Direction:
    """What a gain in words is: "the same" and "too noisy to tell" are neither."""
    if not words[0].isdigit():
        return "even"
    return "worse" if words.endswith(worse) else "better"
