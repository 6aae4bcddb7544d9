"""A table of sensitivities for the terminal: the most sensitive layers first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lissom.report import sensitivity_words as words
from lissom.report.diagnosis_words import decibels
from lissom.report.labels import shortened
from lissom.report.template import visible
from lissom.report.text import wrapped
from lissom.tables import Format, Sensitivity

MOST = 16
# Letters of a layer's name, at most and at least.
LONGEST, NARROWEST = 48, 12


def as_text(found: Sensitivity, *, every: bool = False, width: int = 100) -> str:
    """The layers with the error of each format, and how far errors add up.

    Args:
        found: what was measured.
        every: all layers in the order of the network, not the most sensitive ones.
        width: columns to stay in; formats that do not fit stand in a table of their own.
    """
    layers = list(found.layers) if every else words.ranked(found)[:MOST]
    names = [visible(words.called(layer)) for layer in layers]
    rows = [*names, "sum of the layers", "all together, measured"]
    first = max(NARROWEST, min(LONGEST, max(map(len, rows)), width - 30))
    lines = []
    order = "in the order of the network" if every else "the most sensitive first"
    total = len(found.layers)
    count = f"{len(layers)} of {total}" if len(layers) < total else f"all {total}"
    head = f"{count} layers, {order}; {found.samples} calibration samples"
    lines += wrapped(head, width)
    totals = words.sums(found)
    for forms in _fitting(found.formats, width - first - 12):
        lines += ["", _row("layer", "weights", forms, first, forms)]
        for layer, name in zip(layers, names, strict=True):
            cells = [words.cell(layer, form) for form in forms]
            lines.append(_row(name, f"{layer.weights:,}", cells, first, forms))
        sums = [decibels(totals[form]) for form in forms]
        wholes = [decibels(found.whole[form]) if form in found.whole else "" for form in forms]
        lines.append(_row("sum of the layers", "", sums, first, forms))
        lines.append(_row("all together, measured", "", wholes, first, forms))
    lines += [*wrapped(f"  {words.LEGEND}", width), ""]
    told = [*words.concentrated(found), *words.not_adding_up(found)]
    told += [sentence for sentence in (words.additivity(found), *words.lost(found)) if sentence]
    lines += [part for each in told for part in wrapped(visible(each), width)]
    if len(layers) < len(found.layers):
        more = len(found.layers) - len(layers)
        lines.append(f"and {more} more layer{'s' if more > 1 else ''}; --all shows them")
    return "\n".join(lines)


def _fitting(formats: Sequence[Format], width: int) -> Iterator[list[Format]]:
    """Formats in tables that fit side by side."""
    part: list[Format] = []
    for form in formats:
        if part and sum(2 + _wide(each) for each in [*part, form]) > width:
            yield part
            part = []
        part.append(form)
    yield part


def _wide(form: Format) -> int:
    return max(7, len(form))


def _row(name: str, count: str, cells: Sequence[str], first: int, forms: Sequence[Format]) -> str:
    columns = [cell.rjust(_wide(form)) for cell, form in zip(cells, forms, strict=True)]
    short = name if len(name) <= first else shortened(name, first)
    return "  ".join((short.ljust(first), count.rjust(10), *columns)).rstrip()
