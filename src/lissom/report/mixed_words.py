"""A file of mixed precision told in words: a sentence or two, and a table of its layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lissom.report.mixed import MixedFile, MixedLayer
from lissom.report.results import Results
from lissom.report.text import milliseconds, size
from lissom.tables import FORMATS, Format

# Layers that are named as kept wide.
NAMED = 4
# Of the error, from which on more is told as a multiple; and below which it is not told in figures.
MULTIPLE, LITTLE = 1.0, 0.0005


@dataclass(frozen=True)
class LayerWords:
    """One layer as it is shown; `share` is its part of the predicted error in per cent, and
    `narrower` what the whole error would be with this layer in the next narrower format."""

    name: str
    format: Format
    wide: bool
    weights: str
    bytes: str
    share: str
    narrower: str


@dataclass(frozen=True)
class MixedWords:
    """One file as it is shown."""

    row: str
    chosen: bool
    counts: str
    measured: str
    layers: tuple[LayerWords, ...]


def mixed_words(results: Results) -> MixedWords | None:
    """The chosen file of mixed precision, or of several the last, which came nearest; None where
    there is none."""
    if not results.mixed:
        return None
    chosen = results.chosen
    name = "" if chosen is None else chosen.name
    found = next((each for each in results.mixed if each.row == name), results.mixed[-1])
    return MixedWords(
        row=found.row,
        chosen=found.row == name,
        counts=counts(found),
        measured=predicted_and_measured(found),
        layers=words_of(found),
    )


def words_of(found: MixedFile) -> tuple[LayerWords, ...]:
    """Every layer in words, in the order of the graph."""
    return tuple(_layer(each, found) for each in found.layers)


def note(found: MixedFile) -> str:
    """What became of an allocation, for the notes."""
    wide = kept_wide(found)
    named = ", ".join(each.module or each.name for each in wide[:NAMED])
    more = f" and {len(wide) - NAMED} more" if len(wide) > NAMED else ""
    kept = f"; widest where it hurts most: {named}{more}" if wide else ""
    return f"{found.row}: {counts(found)}{kept}. {predicted_and_measured(found)}"


def counts(found: MixedFile) -> str:
    """How many layers got which format, the widest first: "2 layers w8a8, 30 w4a8"."""
    held = Counter(layer.format for layer in found.layers)
    first, *others = [form for form in FORMATS if held[form]]
    plural = "s" if held[first] > 1 else ""
    words = [f"{held[first]} layer{plural} {first}", *(f"{held[form]} {form}" for form in others)]
    return ", ".join(words)


def kept_wide(found: MixedFile) -> list[MixedLayer]:
    """The layers in the widest format of several, those first that would lose most in the
    narrowest."""
    used = [form for form in FORMATS if any(layer.format == form for layer in found.layers)]
    if len(used) < 2:
        return []
    wide = [layer for layer in found.layers if layer.format == used[0]]
    return sorted(wide, key=lambda layer: -max(layer.errors.values(), default=0.0))


def predicted_and_measured(found: MixedFile) -> str:
    """What the tables said beside what is."""
    parts = [
        f"{size(found.predicted_bytes)} (measured {size(found.bytes)})",
        f"an error of {100 * found.predicted_error:.2g} % of the outputs' power"
        + ("" if found.error is None else f" (measured {100 * found.error:.2g} %)"),
    ]
    if found.predicted_ms is not None:
        ms = "" if found.ms is None else f" (measured {milliseconds(found.ms)})"
        parts.append(f"{milliseconds(found.predicted_ms)}{ms}")
    return f"Predicted: {', '.join(parts)}."


def _layer(layer: MixedLayer, found: MixedFile) -> LayerWords:
    error, total = layer.errors.get(layer.format, 0.0), _total(found)
    return LayerWords(
        name=layer.name if layer.module is None else layer.module,
        format=layer.format,
        wide=layer.name in {each.name for each in kept_wide(found)},
        weights=f"{layer.weights:,}",
        bytes=size(layer.bytes[layer.format]) if layer.format in layer.bytes else "",
        share=f"{error / total:.1%}" if total else "",
        narrower=_narrower(layer, total),
    )


def _total(found: MixedFile) -> float:
    """The sum of what the layers make."""
    return sum(layer.errors.get(layer.format, 0.0) for layer in found.layers)


def _narrower(layer: MixedLayer, total: float) -> str:
    """What the next format that takes fewer bytes would make of the whole error, in words."""
    here = layer.bytes.get(layer.format, 0)
    smaller = {form: n for form, n in layer.bytes.items() if n < here and form in layer.errors}
    if not smaller or not total:
        return ""
    form = max(smaller, key=lambda each: smaller[each])
    more = layer.errors[form] - layer.errors.get(layer.format, 0.0)
    return f"{_grown(more / total)} in {form}"


def _grown(more: float) -> str:
    """What an error becomes that grows by a share of itself: "+12.5%", "50 times the error"."""
    if more >= MULTIPLE:
        # Two digits: more of an estimate nobody needs.
        return f"{float(f'{1 + more:.2g}'):,.{0 if 1 + more >= 9.95 else 1}f} times the error"
    return "hardly more" if abs(more) < LITTLE else f"{more:+.1%}"
