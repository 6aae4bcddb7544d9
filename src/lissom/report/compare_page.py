"""A comparison as one HTML file that needs nothing from outside."""

from __future__ import annotations

from dataclasses import dataclass

from lissom.report import text
from lissom.report.compare import Comparison
from lissom.report.compare_words import labels, lines, sentence
from lissom.report.template import template


@dataclass(frozen=True)
class Bars:
    """One quantity of the original and of both outcomes, as shares of the largest in percent."""

    title: str
    rows: tuple[tuple[str, str, str, float], ...]


def render_comparison(comparison: Comparison) -> str:
    """The whole comparison as HTML; everything the user named is escaped."""
    return template("compare.html.j2").render(
        comparison=comparison,
        labels=labels(comparison),
        sentence=sentence(comparison),
        lines=lines(comparison),
        bars=bars(comparison),
    )


def bars(comparison: Comparison) -> tuple[Bars, ...]:
    """Sizes, and times beside the original's where both were measured under the same conditions."""
    names = labels(comparison)
    sides = comparison.first, comparison.second
    measured = [side.measurement for side in sides]
    told = [(names[0], "first"), (names[1], "second")]
    if comparison.same_original:
        measured.insert(0, sides[0].results.original.measurement)
        told.insert(0, ("the original", "old"))
    sizes = [float(one.footprint.bytes) for one in measured]
    drawn = [_bars("Size", told, sizes, [text.size(round(size)) for size in sizes])]
    if comparison.speed is not None:
        times = [1 / one.speed.ratio.value if one.speed else 1.0 for one in measured]
        title = "Time of a run beside the original's in the same turns"
        drawn.append(_bars(title, told, times, list(map(text.share, times))))
    return tuple(drawn)


def _bars(title: str, told: list[tuple[str, str]], values: list[float], words: list[str]) -> Bars:
    longest = max(values) or 1.0
    return Bars(
        title,
        tuple(
            (name, kind, word, 100 * value / longest)
            for (name, kind), word, value in zip(told, words, values, strict=True)
        ),
    )
