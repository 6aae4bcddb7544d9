"""A table of sensitivities as one HTML file: layers along the network, formats side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lissom._version import __version__
from lissom.report import sensitivity_words as words
from lissom.report.diagnosis_words import decibels, level
from lissom.report.template import template
from lissom.report.text import size
from lissom.tables import Format, LayerSensitivity, Sensitivity

# Ends of the colours, in dB of the signal: errors beyond them look alike.
PALE, FULL = -60.0, -10.0
# How much of the colour the fullest has; more would make numbers on it hard to read.
DEEPEST = 52
FLOAT_BYTES = 4
# What is said of the most sensitive layers at the top of the page.
NAMED = 3


@dataclass(frozen=True)
class Cell:
    """A layer's error in a format: in dB, and percent of the colour; None where it does not
    apply."""

    form: Format
    text: str
    depth: float | None


@dataclass(frozen=True)
class Row:
    """A layer: `pieces` is its name in parts between which a line may break, `bar` its weights in
    percent of the largest layer's, `rank` its place among the most sensitive."""

    number: int
    layer: LayerSensitivity
    pieces: tuple[str, ...]
    size: str
    bar: float
    rank: int | None
    cells: tuple[Cell, ...]


def render_sensitivity(found: Sensitivity, model: str) -> str:
    """The whole table as HTML; every name in it is escaped.

    Args:
        found: what was measured.
        model: what the user calls the network.
    """
    ranked = words.ranked(found)
    ranks = {layer.name: place for place, layer in enumerate(ranked[:NAMED], 1)}
    largest = max((layer.weights for layer in found.layers), default=1)
    totals = words.sums(found)
    told = [*words.concentrated(found), *words.not_adding_up(found), words.additivity(found)]
    return template("sensitivity.html.j2").render(
        found=found,
        model=model,
        lissom=__version__,
        verdict=_verdict(found, ranked),
        rows=[_row(at, layer, found, largest, ranks) for at, layer in enumerate(found.layers, 1)],
        totals=[_cell(form, totals[form]) for form in found.formats],
        wholes=[_cell(form, found.whole.get(form)) for form in found.formats],
        told=[_sentence(each) for each in (*told, *words.lost(found)) if each],
        key=[(step, _depth(10 ** (step / 10))) for step in (-60, -50, -40, -30, -20, -10)],
        legend=_sentence(words.LEGEND[:1].upper() + words.LEGEND[1:]),
        facts=tuple(_facts(found, model)),
    )


def _row(
    number: int, layer: LayerSensitivity, found: Sensitivity, largest: int, ranks: dict[str, int]
) -> Row:
    name = words.called(layer)
    return Row(
        number=number,
        layer=layer,
        pieces=tuple(re.findall(r"[^./_]*[./_]?", name)[:-1]) or (name,),
        size=size(FLOAT_BYTES * layer.weights),
        bar=100 * layer.weights / max(1, largest),
        rank=ranks.get(layer.name),
        cells=tuple(_cell(form, layer.errors.get(form)) for form in found.formats),
    )


def _cell(form: Format, error: float | None) -> Cell:
    if error is None:
        return Cell(form, "-", None)
    return Cell(form, decibels(error), _depth(error))


def _depth(error: float) -> float:
    """How much of the colour an error has, in percent."""
    if not math.isfinite(error):
        return DEEPEST
    return DEEPEST * min(1.0, max(0.0, (level(error) - PALE) / (FULL - PALE)))


def _verdict(found: Sensitivity, ranked: list[LayerSensitivity]) -> str:
    if len(ranked) < 2:
        return f"{len(ranked)} layer was measured."
    names = [words.called(layer) for layer in ranked[:NAMED]]
    return f"Most sensitive: {', '.join(names[:-1])} and {names[-1]}."


def _sentence(text: str) -> str:
    """With a full stop; a name or a format at its front stays as it is written."""
    return f"{text}."


def _facts(found: Sensitivity, model: str) -> Iterator[tuple[str, str]]:
    yield "Model", model
    yield "Digest", found.model
    yield "Looked at", f"{found.samples:,} calibration samples"
    yield "Layers", str(len(found.layers))
    yield "Formats", ", ".join(found.formats)
    yield "Pairs measured together", str(len(found.pairs))
