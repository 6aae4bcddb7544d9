"""What a table of sensitivities says, in words."""

from __future__ import annotations

from collections.abc import Iterator

from lissom.report.diagnosis_words import decibels, percent
from lissom.tables import Format, LayerSensitivity, Pair, Sensitivity

# Errors that differ by more than half do not add up.
APART = 0.5
LEGEND = (
    "error of the outputs with this layer alone in a format, in dB of the signal: 0 is as large "
    "as the signal, -10 a tenth of its power, -60 a millionth; - where the format does not apply"
)


def called(layer: LayerSensitivity) -> str:
    """A layer by its module where it has one, else by its node."""
    return layer.module or layer.name


def sums(found: Sensitivity) -> dict[Format, float]:
    """The errors of all layers together, by format."""
    return {
        form: sum(layer.errors.get(form, 0.0) for layer in found.layers) for form in found.formats
    }


def ranked(found: Sensitivity) -> list[LayerSensitivity]:
    """Layers by the largest share that they have of any format's error, float16 aside."""
    totals = sums(found)
    forms = tuple(form for form in found.formats if form != "float16") or found.formats

    def share(layer: LayerSensitivity) -> float:
        parts = (layer.errors.get(form, 0.0) / totals[form] for form in forms if totals[form] > 0)
        return max(parts, default=0.0)

    return sorted(found.layers, key=lambda layer: -share(layer))


def cell(layer: LayerSensitivity, form: Format) -> str:
    """A layer's error in a format."""
    error = layer.errors.get(form)
    return "-" if error is None else decibels(error)


def concentrated(found: Sensitivity) -> Iterator[str]:
    """For each format, how few layers make half of its error."""
    for form in found.formats:
        errors = sorted((layer.errors.get(form, 0.0), called(layer)) for layer in found.layers)
        errors = [each for each in reversed(errors) if each[0] > 0]
        whole = sum(error for error, _ in errors)
        if len(errors) < 2 or form == "float16":
            continue
        count, made = 0, 0.0
        while made < whole / 2:
            made += errors[count][0]
            count += 1
        names = ", ".join(name for _, name in errors[: min(count, 3)])
        more = f" and {count - 3} more" if count > 3 else ""
        verb = "makes" if count == 1 else "make"
        yield (
            f"{form}: {count} of {len(errors)} layers {verb} half of the layers' error: "
            f"{names}{more}"
        )


def not_adding_up(found: Sensitivity) -> Iterator[str]:
    """Where errors of layers do not add up to what was measured."""
    names = {layer.name: called(layer) for layer in found.layers}
    for form, total in sums(found).items():
        whole = found.whole.get(form)
        if whole is not None and _are_apart(total, whole):
            yield (
                f"errors do not add up in {form}: all layers together make {decibels(whole)} dB, "
                f"{_times(whole, total)} the sum of what each makes alone"
            )
    for pair in found.pairs:
        if _are_apart(pair.predicted, pair.measured):
            yield (
                f"{names.get(pair.one, pair.one)} and {names.get(pair.other, pair.other)} in "
                f"{pair.format}: together they make {_times(pair.measured, pair.predicted)} the "
                "sum of what each makes alone"
            )


def additivity(found: Sensitivity) -> str:
    """How many of the pairs add up, in one sentence; "" where none was measured."""
    if not found.pairs:
        return ""
    good = sum(not _are_apart(pair.predicted, pair.measured) for pair in found.pairs)
    worst = max(found.pairs, key=_gap)
    if good == len(found.pairs):
        return (
            f"errors of layers add up: of {good} pairs measured together, none differs from the "
            f"sum by more than {percent(_gap(worst))}"
        )
    return f"{good} of {len(found.pairs)} pairs of layers measured together add up to within half"


def lost(found: Sensitivity) -> Iterator[str]:
    """Layers that were not found again."""
    for form, names in found.lost.items():
        yield f"not found again in {form}, and not measured: {', '.join(names)}"


def _gap(pair: Pair) -> float:
    return abs(pair.predicted - pair.measured) / max(pair.measured, 1e-30)


def _are_apart(predicted: float, measured: float) -> bool:
    return abs(predicted - measured) > APART * max(measured, 1e-30)


def _times(one: float, other: float) -> str:
    return f"{one / max(other, 1e-30):.2g} times"
