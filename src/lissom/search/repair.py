"""Diagnose an INT8 file that loses too much, and do what the verdicts say, until it fits."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lissom.arrays import Batch
from lissom.batches import Batches
from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.kept import facts, kept
from lissom.diagnosis.pieces import first_rows, free_inputs
from lissom.diagnosis.verdict import with_verdicts
from lissom.labelled import batch_rows
from lissom.recipe.run import Built
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store, digest
from lissom.report.diagnosis import Diagnosis, LayerError, Verdict
from lissom.report.results import Row
from lissom.technique import Track, silent

STATIC, DYNAMIC = "quantize.static", "quantize.dynamic"
# Calibration samples that a file is diagnosed on.
SAMPLES = 128
# Layers that may be kept float, and how many at a time.
MOST_FLOAT, EACH_TIME = 8, 2
# What costs nothing when the model runs: learned codes and biases.
FREE: dict[str, dict[str, Any]] = {STATIC: {"rounding": "learned"}, DYNAMIC: {}}
# Techniques that go before quantization, and what they are told of its settings.
SCALES = ("quantize.equalize", "quantize.smooth")
WEIGHTS = ("weight_bits", "weight_range")


@dataclass(frozen=True)
class Repair:
    """A recipe mended, and the sentences that led there."""

    recipe: Recipe
    why: tuple[str, ...] = ()


def repairable(rows: Sequence[Row], recipes: dict[str, Recipe]) -> list[Row]:
    """The INT8 files that lose too much and are within all other limits, the least loss first."""
    found = [
        row
        for row in rows
        if row.misses
        and all(miss.startswith("drop ") for miss in row.misses)
        and row.measurement.quality is not None
        and any(step.technique in FREE for step in recipes[row.name].steps)
    ]
    return sorted(found, key=_drop)


def repairs(
    recipe: Recipe,
    built: Built,
    original: Built,
    calibration: Batches,
    store: Store,
    *,
    allowed: Sequence[str] = (),
    track: Track = silent,
) -> Iterator[Repair]:
    """Recipes to try one after the other: first what is free, then layers kept float.

    Args:
        recipe: what made the file.
        built, original: the file, and the float one.
        calibration: what the file is diagnosed on, a part of it.
        store: keeps the diagnosis.
        allowed: techniques to keep to; empty allows all.
        track: shows progress.

    Raises:
        ModelError: the file cannot be compared with the original, layer by layer.
    """
    looked = _Some(calibration, SAMPLES, free_inputs(original.path, built.path))
    key = digest(
        original=original.key,
        compressed=built.key,
        data=calibration.digest(),
        samples=SAMPLES,
        machine=facts(None),
    )
    found = with_verdicts(
        kept(
            store,
            key,
            lambda keep: diagnose(
                original.path,
                built.path,
                looked,
                inputs="calibration data",
                keep=keep,
                track=track,
            ),
        )
    )
    advised = [
        verdict
        for verdict in found.verdicts
        if verdict.technique in SCALES and (not allowed or verdict.technique in allowed)
    ]
    names = sorted({str(verdict.technique) for verdict in advised})
    before = tuple(_scaling(name, recipe) for name in names)
    why = tuple(f"{verdict.words}; {verdict.remedy}" for verdict in _told(found.verdicts))
    mended = _mended(recipe, before, {})
    if mended.steps != recipe.steps:
        yield Repair(mended, why)
        why = ()
    worst = _worst(found)
    for count in range(EACH_TIME, MOST_FLOAT + 1, EACH_TIME):
        layers = worst[:count]
        if len(layers) <= count - EACH_TIME:
            return
        settings = {"keep_float": [*_kept(recipe), *(glob.escape(layer) for layer in layers)]}
        named = f"kept float, as they make most of the error: {', '.join(layers)}"
        yield Repair(_mended(recipe, before, settings), (*why, named))
        why = ()


@dataclass(frozen=True)
class _Some:
    """The first samples of the calibration data, a batch at a time; whole where it is fixed."""

    batches: Batches
    samples: int
    free: frozenset[str]

    def __iter__(self) -> Iterator[Batch]:
        left = self.samples
        for batch in islice(self.batches, self.samples):
            rows = batch_rows(batch)
            yield batch if rows <= left else first_rows(batch, self.free, left)
            left -= rows
            if left <= 0:
                return


def _told(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    return tuple(verdict for verdict in verdicts if verdict.remedy)[:3]


def _worst(found: Diagnosis) -> list[str]:
    """The layers that make most of the error and multiply by weights, the worst first."""
    layers = [each for each in found.layers if each.weight_bits is not None and each.share]
    return [each.name for each in sorted(layers, key=lambda each: -_taken(each))]


def _taken(layer: LayerError) -> float:
    """What goes with the layer's error: as measured where that is known, else its share."""
    gain = layer.gains.get("layer")
    return gain.part if gain is not None and gain.told else layer.share or 0.0


def _kept(recipe: Recipe) -> list[str]:
    return [
        name
        for step in recipe.steps
        if step.technique in FREE
        for name in step.config.get("keep_float", ())
    ]


def _scaling(name: str, recipe: Recipe) -> Step:
    """A step before quantization, told which quantization follows."""
    following = next(step for step in recipe.steps if step.technique in FREE)
    told = {key: following.config[key] for key in WEIGHTS if key in following.config}
    if name == "quantize.smooth" and following.technique != STATIC:
        told["before"] = following.technique
    return Step(technique=name, config=told)


def _mended(recipe: Recipe, before: Sequence[Step], changes: dict[str, Any]) -> Recipe:
    """The recipe with steps before its quantization, and changed settings of that."""
    steps: list[Step] = []
    for step in recipe.steps:
        free = FREE.get(step.technique)
        if free is not None:
            steps += before
            step = Step(technique=step.technique, config={**step.config, **free, **changes})
        steps.append(step)
    return Recipe(name=f"{recipe.name}, repaired", steps=tuple(steps))


def _drop(row: Row) -> float:
    quality = row.measurement.quality
    return quality.drop.value if quality is not None else 0.0
