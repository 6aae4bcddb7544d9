"""A diagnosis as one HTML file that needs nothing from outside."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from lissom._version import __version__
from lissom.report import diagnosis_words as words
from lissom.report.counted import layers_counted, saturating_elsewhere, telling_shifts
from lissom.report.diagnosis import Cause, Diagnosis, LayerError, LayerTime, Verdict
from lissom.report.diagnosis_text import ranked
from lissom.report.error_chart import error_chart
from lissom.report.main_cause import CAUSES, main_cause
from lissom.report.range_drawings import (
    ChannelDrawing,
    RangeDrawing,
    channel_drawing,
    range_drawing,
)
from lissom.report.template import template

# Layers that are shown at once, at most and at least; the others stand in a part that opens.
SHOWN, FEWEST, DRAWN = 20, 6, 8
# A share that is worth a row of its own.
TELLING = 0.01
# Drawings in all: a page is to be forwarded.
MOST_DRAWN = 100
# Channels are worth naming from this spread on.
UNEVEN = 3.0


@dataclass(frozen=True)
class Row:
    """A layer in words; `pieces` is its name, in parts between which a line may break.

    `bar` holds each cause's part of the layer's share of the output's error, in percent of the
    longest bar.
    """

    number: int
    layer: LayerError
    pieces: tuple[str, ...]
    share: str
    added: str
    accumulated: str
    cause: str
    main: Cause
    bits: str
    time: str
    bar: tuple[tuple[Cause, float], ...]


@dataclass(frozen=True)
class Card:
    """What a layer reads and what its codes hold of it, and the channels that matter."""

    row: Row
    drawing: RangeDrawing | None
    seen: str
    codes: str
    fit: str
    channels: tuple[tuple[str, ChannelDrawing], ...]


@dataclass(frozen=True)
class Told:
    """A verdict with its layer's number, None for the network or a layer that was left out."""

    verdict: Verdict
    number: int | None
    setting: str
    expected: str


def render_diagnosis(found: Diagnosis) -> str:
    """The whole diagnosis as HTML; every name in it is escaped."""
    layers = layers_counted(found)
    longest = max((layer.share or 0.0 for layer in layers), default=0.0)
    times = {each.name: each for each in found.times.layers} if found.times is not None else {}
    rows = {
        id(layer): _row(at, layer, longest, times.get(layer.name))
        for at, layer in enumerate(layers, 1)
    }
    ordered = [rows[id(layer)] for layer in ranked(layers)]
    telling = sum((row.layer.share or 0.0) >= TELLING for row in ordered)
    shown = min(SHOWN, max(FEWEST, telling))
    cards = [card for row in ordered if (card := _card(row)) is not None][:MOST_DRAWN]
    charts = [
        (width, chart)
        for width in ("wide", "narrow")
        if (chart := error_chart(layers, wide=width == "wide")) is not None
    ]
    return template("diagnosis.html.j2").render(
        found=found,
        lissom=__version__,
        quality=found.quality.replace(" -> ", " → "),
        output_error=words.output_error(found),
        made_up=words.MADE_UP if found.made_up else "",
        verdicts=_listed(found),
        charts=charts,
        rows={row.number: row for row in ordered},
        shown=ordered[:shown],
        hidden=ordered[shown:],
        cards=cards[:DRAWN],
        more_cards=cards[DRAWN:],
        causes=_causes(ordered),
        unmatched=words.by_reason(found.unmatched),
        emulated=words.EMULATED
        if not found.saturates_here and any(layer.parts.saturation > 0 for layer in layers)
        else "",
        elsewhere=words.elsewhere(saturating_elsewhere(found)),
        shifts=[words.shifted(shift) for shift in telling_shifts(found)],
        timed=words.run_times(found.times) if found.times is not None else "",
        facts=_facts(found),
    )


def _row(number: int, layer: LayerError, longest: float, time: LayerTime | None) -> Row:
    return Row(
        number=number,
        layer=layer,
        pieces=tuple(re.findall(r"[^./_]*[./_]?", layer.name)[:-1]) or (layer.name,),
        share="" if layer.share is None else words.percent(layer.share),
        added=words.decibels(layer.added),
        accumulated=words.decibels(layer.accumulated),
        cause=words.cause(layer),
        main=main_cause(layer),
        bits=words.bits(layer),
        time=words.layer_time(time).replace("->", "→"),
        bar=_bar(layer, longest),
    )


def _bar(layer: LayerError, longest: float) -> tuple[tuple[Cause, float], ...]:
    """The share of a layer divided as its causes alone divide it.

    Causes interact, so that their parts may add up to more than the whole, which is then divided
    in their proportion, or to less; the rest is unexplained.
    """
    if not layer.share or not longest > 0:
        return ()
    parts: dict[Cause, float] = {cause: float(getattr(layer.parts, cause)) for cause in CAUSES}
    parts["unexplained"] = max(0.0, layer.added - sum(parts.values()))
    whole = sum(parts.values())
    if not whole > 0:
        return ()
    scale = 100 * layer.share / longest / whole
    return tuple((cause, scale * part) for cause, part in parts.items() if scale * part >= 0.1)


def _card(row: Row) -> Card | None:
    """None for a layer of which there is nothing to draw."""
    grid = row.layer.grid
    uneven = [each for each in row.layer.channels if each.spread >= UNEVEN and each.worst]
    drawing = None if grid is None else range_drawing(grid)
    if drawing is None and not uneven:
        return None
    return Card(
        row=row,
        drawing=drawing,
        seen="" if grid is None else words.ends(grid.low, grid.high),
        codes="" if grid is None else words.ends(grid.clip_low, grid.clip_high),
        fit="" if grid is None else words.fit(grid),
        channels=tuple((words.holding(each), channel_drawing(each)) for each in uneven),
    )


def _listed(found: Diagnosis) -> list[Told]:
    """Every verdict but the first where that, said at the top, asks for nothing."""
    said = bool(found.verdicts) and not found.verdicts[0].remedy
    return [_told(verdict, found) for verdict in found.verdicts[1 if said else 0 :]]


def _told(verdict: Verdict, found: Diagnosis) -> Told:
    numbers = (at for at, layer in enumerate(found.layers, 1) if layer.name == verdict.layer)
    setting = ""
    if verdict.technique is not None:
        settings = ", ".join(
            f"{name}: {json.dumps(value, ensure_ascii=False, default=str)}"
            for name, value in verdict.config.items()
        )
        setting = f"{verdict.technique}: {{{settings}}}" if settings else verdict.technique
    return Told(verdict, next(numbers, None), setting, words.expected(verdict))


def _causes(rows: list[Row]) -> tuple[Cause, ...]:
    """The causes that are drawn in any bar, in their order."""
    there = {cause for row in rows for cause, _ in row.bar}
    order: tuple[Cause, ...] = (*CAUSES, "unexplained")
    return tuple(cause for cause in order if cause in there)


def _facts(found: Diagnosis) -> tuple[tuple[str, str], ...]:
    how = (
        "measured here" if found.saturates_here else "emulated: this machine's kernels add exactly"
    )
    kernels = f"counted, {how}" if found.pair_sums else "not counted: the kernels add exactly"
    there = "" if found.emulated_error is None else " with saturation, emulated"
    told = [
        ("Original", found.original),
        ("Compressed", found.compressed),
        ("Looked at", found.inputs),
        ("Quality", found.quality or "not judged: no task was given"),
        ("Error of the outputs", f"{words.decibels(found.error)} dB{there}"),
        ("Layers compared", str(len(found.layers))),
        ("Saturation", kernels),
    ]
    return tuple(told)
