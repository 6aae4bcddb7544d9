"""The error along the network as plain geometry, drawn by diagnosis.html.j2 as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lissom.report.axes import round_steps
from lissom.report.diagnosis import LayerError
from lissom.report.diagnosis_words import NOTHING, level
from lissom.report.frame import Frame, Tick

# Of an error so far below the largest one the place on the scale tells nothing.
DEEPEST = 80.0
# Marks that are reached by the Tab key; a large network's other layers are drawn only.
REACHED = 40
# Layers whose numbers stand beside their marks.
NUMBERED = 3


@dataclass(frozen=True)
class Mark:
    """One layer: where its added error stands, and the accumulated one, by its number from 1.

    `reached` says whether the keyboard reaches it, `named` whether its number is written.
    """

    number: int
    layer: LayerError
    x: float
    added: float
    accumulated: float
    reached: bool
    named: bool


@dataclass(frozen=True)
class ErrorChart(Frame):
    """Decibels of the signal upward, layers in the order of the network to the right."""

    marks: tuple[Mark, ...]
    line: str
    reach: float


def error_chart(layers: Sequence[LayerError], *, wide: bool) -> ErrorChart | None:
    """The chart for a wide or a narrow window, None where nothing differs."""
    known = [
        level(error)
        for layer in layers
        for error in (layer.added, layer.accumulated)
        if math.isfinite(error) and error > NOTHING
    ]
    if not known:
        return None
    width, height = (1040, 340) if wide else (360, 330)
    left, right, top, bottom = 52.0, width - 12.0, 16.0, height - 46.0
    highest = 10 * math.ceil((max(known) + 1) / 10)
    lowest = max(10 * math.floor((min(known) - 1) / 10), highest - DEEPEST)

    def up(error: float) -> float:
        decibels = highest if not math.isfinite(error) else level(error)
        share = (decibels - lowest) / (highest - lowest)
        return bottom - min(1.0, max(0.0, share)) * (bottom - top)

    step = (right - left) / len(layers)
    order = sorted(range(len(layers)), key=lambda at: -(layers[at].share or 0.0))
    reached, named = set(order[:REACHED]), set(order[:NUMBERED])
    marks = tuple(
        Mark(
            number=at + 1,
            layer=layer,
            x=left + (at + 0.5) * step,
            added=up(layer.added),
            accumulated=up(layer.accumulated),
            reached=at in reached,
            named=at in named and bool(layer.share),
        )
        for at, layer in enumerate(layers)
    )
    numbers = round_steps(1, max(2, len(layers)), 12 if wide else 5)
    return ErrorChart(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=tuple(
            Tick(marks[int(number) - 1].x, f"{int(number)}")
            for number in numbers
            if number == int(number) and 1 <= number <= len(layers)
        ),
        y_ticks=tuple(
            Tick(up(10 ** (value / 10)), f"{value:g}") for value in round_steps(lowest, highest, 6)
        ),
        marks=marks,
        line=" ".join(f"{mark.x:.1f},{mark.accumulated:.1f}" for mark in marks),
        reach=step,
    )
