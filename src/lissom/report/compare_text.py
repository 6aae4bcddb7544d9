"""A comparison in the terminal."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lissom.report.compare import Comparison
from lissom.report.compare_words import Line, labels, lines, sentence
from lissom.report.template import visible

LEAST_COLUMNS = 76
SIGNS = {"both": "  ", "first": "- ", "second": "+ "}


def as_text(comparison: Comparison, width: int = 100) -> str:
    """The numbers as a table where there is room, else below each other; then what differs."""
    return "\n".join(visible(line) for line in _lines(comparison, width))


def _lines(comparison: Comparison, width: int) -> Iterator[str]:
    names = labels(comparison)
    told = lines(comparison)
    yield from _table(names, told, width)
    if comparison.steps:
        yield ""
        yield f"recipe   (- only {names[0]}, + only {names[1]})"
        for step in comparison.steps:
            yield f"  {SIGNS[step.place]}{step.words}"
    differing = [fact for fact in comparison.facts if not fact.same]
    if differing:
        yield ""
        yield "different"
        for fact in differing:
            yield f"  {fact.name}: {fact.first} | {fact.second}"
    if comparison.warnings or sentence(comparison):
        yield ""
    for warning in comparison.warnings:
        yield from textwrap.wrap(f"warning: {warning}", width, subsequent_indent="  ")
    yield from textwrap.wrap(sentence(comparison), width)


def _table(names: tuple[str, str], told: Sequence[Line], width: int) -> Iterator[str]:
    """Four columns, or a block for each quantity in a narrow terminal."""
    rows = [
        (
            line.name,
            line.first or "not measured",
            line.second or "not measured",
            " ".join(filter(None, [line.change, line.interval])),
        )
        for line in told
    ]
    if width < LEAST_COLUMNS:
        yield from _blocks(names, rows)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("", *names, "second beside first"):
        table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(width=width, file=io.StringIO(), color_system=None, markup=False)
    for line in console.render_lines(table, pad=False):
        yield "".join(segment.text for segment in line).rstrip()


def _blocks(names: tuple[str, str], rows: Sequence[tuple[str, str, str, str]]) -> Iterator[str]:
    for name, one, other, change in rows:
        yield name
        yield f"  {names[0]}: {one}"
        yield f"  {names[1]}: {other}"
        if change:
            yield f"  second beside first: {change}"
