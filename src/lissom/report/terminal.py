"""The table of a run in the terminal: on one line a row where there is room, on two where not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from lissom.report import text
from lissom.report.axes import Kind
from lissom.report.pace import Pace, pace
from lissom.report.results import Results, Row
from lissom.report.runtimes import in_runtime, runtimes
from lissom.report.stages import Change, changes

# One column of a row: what stands on its first line, and what may move to the second.
Cell = tuple[str, str]
HEADS: tuple[Cell, ...] = (
    ("size", "smaller"),
    ("p50", ""),
    ("speed-up", "[95 %]"),
    ("quality", ""),
    ("drop", "[95 %]"),
    ("memory", ""),
)
# For a recipe, where what the last step changed stands beside the stage's own number.
STEP_HEADS: tuple[Cell, ...] = (
    ("size", "step"),
    ("p50", "step"),
    ("speed-up", "[95 %]"),
    ("quality", "step"),
    ("drop", "[95 %]"),
    ("memory", ""),
)
MARKS = 3


def table(results: Results) -> ResultsTable:
    """What was measured, what was skipped, the notes and the machine, for `rich` to print."""
    return ResultsTable(results)


def as_text(results: Results, width: int = 120) -> str:
    """The same without colour, for `print` and logs."""
    lines = _lines(results, width, "-")
    return "\n".join(line.plain for line in lines)


@dataclass(frozen=True)
class ResultsTable:
    """The renderable: lays itself out for the width it is given."""

    results: Results

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rule = "-" if options.ascii_only else "─"
        yield from _lines(self.results, options.max_width, rule)


def _lines(results: Results, width: int, rule: str) -> Iterator[Text]:
    names = runtimes(results)
    for place, name in enumerate(names):
        if len(names) > 1:
            yield Text(f"in {name}", style="bold")
        there = in_runtime(results, place)
        yield from _measured(there, width, rule)
        yield Text("")
        if warning := pace(there).warning:
            yield from _wrapped(warning, width, 0, style="yellow")
            yield Text("")
    if results.rows:
        yield from _wrapped(_key(results), width, 0)
    yield from _wrapped(_reading(results), width, 0)
    if results.budget:
        limits = ", ".join(f"{name} {limit}" for name, limit in results.budget.items())
        objective = "" if results.kind == "recipe" else f"; objective: {results.objective}"
        yield from _wrapped(f"budget: {limits}{objective}", width, 0)
    alone = not results.rows and not results.skipped  # nothing was there to choose among
    if results.chosen is None and not alone:
        outside = "The result is not inside the budget."
        words = outside if results.kind == "recipe" else "Nothing was chosen."
        yield from _wrapped(words, width, 0, style="bold yellow")
    if results.skipped:
        yield Text("\nskipped", style="bold")
        for skipped in results.skipped:
            yield from _wrapped(f"{skipped.name}: {skipped.why}", width, 2)
    if results.notes:
        yield Text("\nnotes", style="bold")
        for note in results.notes:
            yield from _wrapped(note, width, 2)
    yield Text("")
    yield from _wrapped(_where(results), width, 0, style="dim")


def _measured(results: Results, width: int, rule: str) -> Iterator[Text]:
    """The rows themselves, in the widest layout that fits."""
    rows = (results.original, *results.rows)
    times = pace(results)
    every = [_cells(row, times) for row in rows]
    titles = HEADS
    if results.kind == "recipe":
        titles = STEP_HEADS
        steps = ({}, *changes(results))
        every = [_with_step(*pair) for pair in zip(every, steps, strict=True)]
    kept = [i for i in range(len(titles)) if any(cells[i][0] for cells in every)]
    heads = [titles[i] for i in kept]
    marks = {row.name: _marks(row, results) for row in rows}
    table = [[cells[i] for i in kept] for cells in every]
    names = max(len("name"), *(cell_len(row.name) for row in rows))
    layout = next(_layouts(names, [heads, *table], width), None)
    if layout is None:
        for row, cells in zip(rows, table, strict=True):
            yield from _block(row, heads, cells, width, marks[row.name])
        return
    yield from _grid("name", "", layout.cells[0], layout, "bold")
    yield Text(rule * layout.total, style="dim")
    for row, placed in zip(rows, layout.cells[1:], strict=True):
        style = "bold green" if row.chosen else ""
        yield from _grid(row.name, marks[row.name], placed, layout, style)
        yield from _remarks(row, width)


@dataclass(frozen=True)
class _Layout:
    """The cells of all rows, the head first, and the widths of the name and of each column."""

    cells: Sequence[Sequence[Cell]]
    room: int
    widths: Sequence[int]
    gap: int

    @property
    def total(self) -> int:
        return MARKS + self.room + sum(self.gap + width for width in self.widths)


def _layouts(names: int, stacked: Sequence[Sequence[Cell]], width: int) -> Iterator[_Layout]:
    """The layouts that fit, the most generous first; `names` is the widest name."""
    flat = _flat(stacked)
    for cells, gap, narrowest in ((flat, 2, 20), (stacked, 2, 18), (stacked, 1, 12)):
        widths = [
            max(cell_len(part) for cell in column for part in cell)
            for column in zip(*cells, strict=True)
        ]
        room = width - MARKS - sum(gap + column for column in widths)
        if room >= min(names, narrowest):
            yield _Layout(cells, min(room, names), widths, gap)


def _flat(stacked: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """The same cells on one line each, the second part right of the first."""
    columns = []
    for column in zip(*stacked, strict=True):
        widths = [max(cell_len(cell[part]) for cell in column) for part in (0, 1)]
        joint = " " if widths[1] else ""
        columns.append(
            [(f"{first:>{widths[0]}}{joint}{second:>{widths[1]}}", "") for first, second in column]
        )
    return [list(cells) for cells in zip(*columns, strict=True)]


def _grid(
    name: str, marks: str, cells: Sequence[Cell], layout: _Layout, style: str
) -> Iterator[Text]:
    """One row: one line, or two and more when stacked or when the name is long."""
    names = _folded(name, layout.room)
    count = max(len(names), 2 if any(second for _, second in cells) else 1)
    for index in range(count):
        line = f"{marks if index == 0 else '':<{MARKS}}"
        line += _padded(names[index] if index < len(names) else "", layout.room)
        for cell, width in zip(cells, layout.widths, strict=True):
            value = cell[index] if index < 2 else ""
            line += " " * (layout.gap + width - cell_len(value)) + value
        yield Text(line.rstrip(), style=style)


def _block(
    row: Row, heads: Sequence[Cell], cells: Sequence[Cell], width: int, marks: str
) -> Iterator[Text]:
    """A row for a terminal too narrow for columns: the name, then its numbers as running text."""
    style = "bold green" if row.chosen else "bold"
    yield from _wrapped(f"{marks:<{MARKS}}{row.name}", width, 0, style=style)
    numbers = [
        " ".join([head[0], cell[0], *filter(None, [_aside(head, cell)])])
        for head, cell in zip(heads, cells, strict=True)
        if cell[0]
    ]
    yield from _wrapped(", ".join(numbers), width, MARKS)
    yield from _remarks(row, width)


def _aside(head: Cell, cell: Cell) -> str:
    """A cell's second part in running text: an interval as it is, a change in brackets."""
    return f"({cell[1]})" if cell[1] and head[1] == "step" else cell[1]


def _remarks(row: Row, width: int) -> Iterator[Text]:
    for remark in text.remarks(row):
        yield from _wrapped(remark, width, MARKS + 2, style="yellow")


def _cells(row: Row, kept: Pace) -> tuple[Cell, ...]:
    """The row's numbers in the order of HEADS; empty where nothing was measured."""
    measured, original = row.measurement, kept.original
    speed, quality, footprint = measured.speed, measured.quality, measured.footprint
    is_original = row is original
    shrunk = original.measurement.footprint.bytes / footprint.bytes
    return (
        (text.size(footprint.bytes), "" if is_original else text.ratio(shrunk)),
        (kept.p50(row), ""),
        (text.ratio(speed.ratio.value), text.speed_interval(speed.ratio)) if speed else ("", ""),
        (text.score(quality.value.value) if quality else "", ""),
        (text.drop(quality), text.drop_interval(quality))
        if quality and not is_original
        else ("", ""),
        (text.size(footprint.peak_memory) if footprint.peak_memory else "", ""),
    )


def _with_step(cells: tuple[Cell, ...], step: dict[Kind, Change]) -> tuple[Cell, ...]:
    """The cells of STEP_HEADS from those of HEADS."""
    size, p50, speed, quality, drop, memory = cells
    told = {kind: change.words for kind, change in step.items()}
    return (
        (size[0], told.get("size", "")),
        (p50[0], told.get("latency", "")),
        speed,
        (quality[0], told.get("quality", "")),
        drop,
        memory,
    )


def _marks(row: Row, results: Results) -> str:
    front = row.on_front and results.kind == "search"
    return f"{'>' if row.chosen else ' '}{'*' if front else ' '}"


def _key(results: Results) -> str:
    if results.kind == "recipe":
        return (
            "> the result; step: what this step changed; speed-up and drop: from the original, "
            "all steps together"
        )
    return "> chosen   * on the Pareto front of size, latency and quality"


def _reading(results: Results) -> str:
    """What the columns mean in this run."""
    told = [f"p50: median time of one run, {text.conditions(results.settings)}"]
    if any(row.measurement.speed for row in results.rows):
        told.append("speed-up: of runs in turns with the original")
    rows = (*results.rows, results.original)
    quality = next((row.measurement.quality for row in rows if row.measurement.quality), None)
    if quality is None:
        told.append("quality: not measured")
    else:
        better = "higher" if quality.higher_is_better else "lower"
        unlabelled = " to the original, no labels used" if quality.fidelity else ""
        told.append(
            f"quality: {text.metric_label(quality)}{unlabelled}, {better} is better, "
            f"{quality.samples:,} samples"
        )
    if quality is not None and results.rows:
        told.append("drop: how much worse than the original")
    if results.rows:
        told.append("[low, high]: 95 % confidence interval")
    if unseen := text.unseen(results):
        told.append(unseen)
    return "; ".join(told)


def _where(results: Results) -> str:
    return (
        f"{results.target} on {results.machine}; lissom {results.lissom}; "
        f"took {text.duration(results.seconds)}"
    )


def _wrapped(words: str, width: int, indent: int, style: str = "") -> Iterator[Text]:
    """Words in lines that fit, the later ones indented two more."""
    line = " " * indent
    for word in words.split(" "):
        for piece in _cut(word, max(width - indent - 2, 8)):
            joined = f"{line} {piece}" if line.strip() else f"{line}{piece}"
            if cell_len(joined) > width and line.strip():
                yield Text(line, style=style)
                joined = " " * (indent + 2) + piece
            line = joined
    yield Text(line.rstrip(), style=style)


def _folded(name: str, width: int) -> list[str]:
    """A name in lines of at most `width`, broken after a space or a joint where there is one."""
    lines = [""]
    for part in re.findall(r"[^\s\-+_./,:@]*[\s\-+_./,:@]?", name):
        for piece in _cut(part, width):
            if cell_len((lines[-1] + piece).rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return [line.strip() for line in lines]


def _cut(word: str, width: int) -> list[str]:
    """A word in pieces no wider than `width`; nearly always itself."""
    return chop_cells(word, width) if cell_len(word) > width else [word]


def _padded(words: str, width: int) -> str:
    return words + " " * (width - cell_len(words))
