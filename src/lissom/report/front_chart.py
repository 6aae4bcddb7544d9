"""The predicted front of mixed precision as plain geometry, drawn by page.html.j2 as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lissom.report.axes import round_steps, size_unit
from lissom.report.frame import Frame, Tick
from lissom.report.labels import BOLD, Box, beside, shortened
from lissom.report.mixed import FrontPoint, MixedFile
from lissom.report.results import Results
from lissom.report.text import size
from lissom.tables import FORMATS, Format

# Of a mark, and how far around it no label's halo may reach.
RADIUS, CLEAR = 5.5, 6.5
# Letters of a file's name beside its mark.
NAMED = 20
# Pixels between the places of the line that labels keep off.
SAMPLED = 6.0


@dataclass(frozen=True)
class Mark:
    """One network: in one format as it is predicted, or a built file as it was measured.

    `kind` is "uniform", "chosen" or "built"; `told` its numbers in words; `label` is empty where
    there is no room for it.
    """

    kind: str
    told: str
    x: float
    y: float
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class FrontChart(Frame):
    """Megabytes to the right, decibels of the outputs' power over their error upward."""

    x_title: str
    line: str
    marks: tuple[Mark, ...]
    words: str


def front_chart(results: Results, *, wide: bool) -> FrontChart | None:
    """The chart for a wide or a narrow window; None where no front was predicted or no file built.

    An error of zero or without bound has no place on it.
    """
    line = [point for point in results.predicted_front if _shown(point)]
    if len(line) < 2 or not results.mixed:
        return None
    uniform = {
        form: point for form, point in uniform_points(results.mixed[-1]).items() if _shown(point)
    }
    measured = {
        each.row: FrontPoint(bytes=each.bytes, error=each.error)
        for each in results.mixed
        if each.error is not None
    }
    built = {name: point for name, point in measured.items() if _shown(point)}
    known = [*line, *uniform.values(), *built.values()]
    width, height = (760, 360) if wide else (360, 340)
    left, right, top, bottom = frame = 52.0, width - 14.0, 14.0, height - 46.0
    unit, scale = size_unit(max(point.bytes for point in known))
    low, high = _ends([point.bytes / scale for point in known])
    lowest, highest = _ends([decibels(point.error) for point in known])

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    def up(value: float) -> float:
        return bottom - (value - lowest) / (highest - lowest) * (bottom - top)

    def place(point: FrontPoint) -> tuple[float, float]:
        return across(point.bytes / scale), up(decibels(point.error))

    path = [place(point) for point in line]
    chosen = "" if results.chosen is None else results.chosen.name
    spots = []
    for name, point in built.items():
        kind = "chosen" if name == chosen else "built"
        spots.append((name, Mark(kind, told(name, point, "measured"), *place(point))))
    for form, point in uniform.items():
        spots.append((form, Mark("uniform", told(form, point, "predicted"), *place(point))))
    marks = _labelled(spots, path, frame)
    return FrontChart(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=tuple(
            Tick(across(value), f"{value:.6g}")
            for value in round_steps(low, high, 6 if wide else 4)
        ),
        y_ticks=tuple(Tick(up(value), f"{value:g}") for value in round_steps(lowest, highest, 5)),
        x_title=f"size, {unit}",
        line=" ".join(f"{x:.1f},{y:.1f}" for x, y in path),
        # The file that matters is drawn last, above the rest.
        marks=tuple(reversed(marks)),
        words=f"The predicted front runs from {told('', line[0])} to {told('', line[-1])}. "
        + " ".join(f"{mark.told}." for mark in marks),
    )


def uniform_points(file: MixedFile) -> dict[Format, FrontPoint]:
    """What the tables behind a file predict of the network in each format of integers, as far as
    it applies; floats of 16 bits are so far off that the others would lie on one spot."""
    layers = file.layers
    rest = file.predicted_bytes - sum(layer.bytes.get(layer.format, 0) for layer in layers)
    total = sum(layer.errors.get(layer.format, 0.0) for layer in layers)
    scale = file.predicted_error / total if total else 1.0
    found: dict[Format, FrontPoint] = {}
    for form in FORMATS:
        if form == "float16" or not any(form in layer.errors for layer in layers):
            continue
        given = [(layer, form if form in layer.errors else "float32") for layer in layers]
        found[form] = FrontPoint(
            bytes=rest + sum(layer.bytes.get(got, 0) for layer, got in given),
            error=scale * sum(layer.errors.get(got, 0.0) for layer, got in given),
        )
    return found


def decibels(error: float) -> float:
    """The outputs' power over a relative squared error, in dB: -10 log10 of it."""
    return -10 * math.log10(error)


def told(name: str, point: FrontPoint, how: str = "") -> str:
    """A point in words: "w4a8: 23.5 kB and 18.2 dB predicted"."""
    numbers = f"{size(point.bytes)} and {decibels(point.error):.1f} dB"
    return f"{f'{name}: ' if name else ''}{numbers}{f' {how}' if how else ''}"


def _shown(point: FrontPoint) -> bool:
    return 0 < point.error < math.inf


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """A scale with some room on both sides."""
    room = 0.07 * (max(values) - min(values)) or 0.07 * abs(values[0]) or 1.0
    return min(values) - room, max(values) + room


def _labelled(
    spots: Sequence[tuple[str, Mark]], path: Sequence[tuple[float, float]], frame: Box
) -> list[Mark]:
    """Marks with their names where there is room, off the line if there is such a place."""
    taken = [(at.x - CLEAR, at.y - CLEAR, at.x + CLEAR, at.y + CLEAR) for _, at in spots]
    line = [(x - 1, y - 1, x + 1, y + 1) for x, y in _along(path)]
    done = []
    for name, mark in spots:
        label = shortened(name, NAMED)
        for avoided in ([*taken, *line], taken):
            at = beside((mark.x, mark.y), RADIUS, BOLD * len(label), frame, avoided)
            if at is not None:
                x, y, anchor, box = at
                taken.append(box)
                mark = Mark(mark.kind, mark.told, mark.x, mark.y, label, x, y, anchor)
                break
        done.append(mark)
    return done


def _along(path: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places along a line, close to each other."""
    found = []
    for (x, y), (to_x, to_y) in pairwise(path):
        count = 1 + int(math.hypot(to_x - x, to_y - y) / SAMPLED)
        steps = [step / count for step in range(count + 1)]
        found += [(x + share * (to_x - x), y + share * (to_y - y)) for share in steps]
    return found
