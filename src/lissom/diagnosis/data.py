"""Whether the data a network was calibrated with are like those it is judged on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.diagnosis.replay import groups
from lissom.diagnosis.section import Section
from lissom.graph.capture import capture
from lissom.quantize.histogram import BINS, Histogram
from lissom.report.diagnosis import Shift
from lissom.technique import Track

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Bins in which distributions are compared.
COMPARED = 64


def shifts(
    original: ir.Model,
    sections: Sequence[Section],
    calibration: Iterable[Batch],
    batches: Iterable[Batch],
    sizes: Mapping[str, int],
    track: Track,
) -> tuple[Shift, ...]:
    """Ranges and distributions of the inputs, and of what quantized layers read, on both data.

    Args:
        original: the float graph.
        sections: the layers.
        calibration: what the compressed network was calibrated with.
        batches: what it is diagnosed with.
        sizes: bytes of the original's tensors for one batch, about.
        track: shown one item a batch.
    """
    layers: dict[str, Section | None] = {
        value.name: None for value in original.graph.inputs if value.name
    }
    for section in sections:
        source = section.entry.source if section.entry is not None else ""
        if source in section.sources:
            layers.setdefault(section.sources[source].tensor, section)
    names = list(layers)
    found: dict[str, tuple[Histogram, ...]] = {n: tuple(Histogram() for _ in "123") for n in names}
    for group in groups([{name} for name in names], sizes):
        mine = [names[at] for at in group]
        for number, batch in enumerate(capture(original, mine, track(calibration, "calibration"))):
            for name, array in batch.items():
                # The halves of the calibration data tell how far alike data are apart.
                found[name][number % 2].observe(array)
        for batch in capture(original, mine, track(batches, "validation")):
            for name, array in batch.items():
                found[name][2].observe(array)
    return tuple(_shift(name, layers[name], *found[name]) for name in names)


def _shift(
    name: str, section: Section | None, one: Histogram, other: Histogram, judged: Histogram
) -> Shift:
    low, high = min(one.low, other.low), max(one.high, other.high)
    if not (one.counts.any() or one.zeros):
        low, high = other.low, other.high
    elif not (other.counts.any() or other.zeros):
        low, high = one.low, one.high
    entry = None if section is None else section.entry
    grid = (low, high)
    if entry is not None and entry.low is not None and entry.high is not None:
        # What is rounded to an end is not beyond it.
        half = (entry.scale or 0.0) / 2
        grid = (entry.low - half, entry.high + half)
    reach = max(one.reach, other.reach, judged.reach, 1e-30)
    parts = [_coarse(each, reach) for each in (one, other, judged)]
    calibrated = parts[0] + parts[1]
    return Shift(
        tensor=name,
        layer=None if section is None else section.matched.anchor.name,
        calibration=(low, high),
        validation=(judged.low, judged.high),
        beyond_before=_beyond((one, other), *grid),
        beyond=_beyond((judged,), *grid),
        distance=_distance(calibrated, parts[2]),
        usual=_distance(parts[0], parts[1]),
    )


def _coarse(histogram: Histogram, reach: float) -> Array:
    """Counts in COMPARED bins of [-reach, reach), and the zeros."""
    if not histogram.reach:
        return np.append(np.zeros(COMPARED), histogram.zeros)
    middles = (histogram.edges[:-1] + histogram.edges[1:]) / 2
    places = ((middles / reach + 1) / 2 * COMPARED).astype(np.intp)
    counts = np.bincount(places, weights=histogram.counts, minlength=COMPARED)
    return np.append(counts, histogram.zeros)


def _distance(one: Array, other: Array) -> float:
    """Total variation between two distributions, 0 to 1; 0 where one has no values."""
    if not one.sum() or not other.sum():
        return 0.0
    return float(np.abs(one / one.sum() - other / other.sum()).sum() / 2)


def _beyond(histograms: Sequence[Histogram], low: float, high: float) -> float:
    """Share of the values outside of a range, to the width of a bin."""
    outside = total = 0
    for each in histograms:
        total += int(each.counts.sum()) + each.zeros
        if each.reach:
            width = each.reach / BINS
            lefts = each.edges[:-1]
            outside += int(each.counts[(lefts + width <= low) | (lefts >= high)].sum())
    return outside / max(total, 1)
