"""A diagnosis in words, for the terminal: what is wrong and what to do, then the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lissom.report.counted import layers_counted, saturating_elsewhere, telling_shifts
from lissom.report.diagnosis import Diagnosis, LayerError, Times
from lissom.report.diagnosis_words import (
    EMULATED,
    MADE_UP,
    bits,
    by_reason,
    cause,
    decibels,
    elsewhere,
    expected,
    layer_time,
    output_error,
    percent,
    run_times,
    shifted,
)
from lissom.report.template import visible
from lissom.report.text import wrapped

MOST = 12
# Names of unmatched layers that are listed for each reason.
NAMED = 4
# Letters of a layer's name: at most, before a column goes in its favour, and at least.
LONGEST, READABLE, NARROWEST = 48, 24, 10


@dataclass(frozen=True)
class _Column:
    """One column of the table: its cells, and how early it goes where there is no room."""

    title: str
    cell: Callable[[LayerError], str]
    goes: int
    left: bool = False


TIME = "ms"
COLUMNS = (
    _Column("share", lambda layer: "" if layer.share is None else percent(layer.share), 9),
    _Column("added", lambda layer: decibels(layer.added), 3),
    _Column("so far", lambda layer: decibels(layer.accumulated), 2),
    _Column("main cause", cause, 4, left=True),
    _Column("bits", bits, 1),
)


def as_text(found: Diagnosis, *, every: bool = False, width: int = 100) -> str:
    """Verdicts with their remedies, the layers of most error, and those without a counterpart.

    Args:
        found: what was found out.
        every: all layers, in the order of the network, and all unmatched ones.
        width: columns to stay in.
    """
    lines = [*_summary(found), "", *_verdicts(found), *_shifts(found)]
    told = [part for line in lines for part in wrapped(visible(line), width)]
    told += ["", *_layers(found, every, width)]
    without = [part for line in _unmatched(found, every) for part in wrapped(visible(line), width)]
    return "\n".join([*told, *without])


def _summary(found: Diagnosis) -> Iterator[str]:
    yield f"{found.original} -> {found.compressed}"
    yield f"  looked at: {found.inputs}"
    yield f"  {output_error(found)}"
    if found.times is not None:
        yield f"  {run_times(found.times)}"
    if found.quality:
        yield f"  {found.quality}"
    if found.made_up:
        yield f"  {MADE_UP}"


def _verdicts(found: Diagnosis) -> Iterator[str]:
    if not found.verdicts:
        yield "no verdict: nothing was found that explains the error"
        return
    for number, verdict in enumerate(found.verdicts, 1):
        yield f"{number}. {verdict.words}"
        if verdict.remedy:
            gain = expected(verdict)
            yield f"   remedy: {verdict.remedy}"
            if gain:
                yield f"   which {gain}"


def _shifts(found: Diagnosis) -> Iterator[str]:
    telling = telling_shifts(found)
    if not found.shifts:
        return
    yield ""
    if not telling:
        yield "calibration data and these are alike"
        return
    yield "calibration data and these differ"
    for shift in telling[:NAMED]:
        yield f"  {shifted(shift)}"
    if len(telling) > NAMED:
        yield f"  and in {len(telling) - NAMED} more tensors"


def _layers(found: Diagnosis, every: bool, width: int) -> Iterator[str]:
    layers = list(layers_counted(found))
    if not layers:
        yield "no layer could be compared"
        return
    if every:
        yield f"all {len(layers)} layers in the order of the network"
    else:
        layers = ranked(layers)[:MOST]
        count = f"{len(layers)} of {len(found.layers)} layers"
        yield from wrapped(f"{count}, those with the largest shares of the output's error", width)
    table = _Table(layers, width, found.times)
    yield from table.lines()
    for line in table.legend():
        yield from wrapped(line, width)
    if any(layer.parts.saturation for layer in layers) and not found.saturates_here:
        yield from wrapped(f"  {EMULATED}", width)
    more = elsewhere(saturating_elsewhere(found))
    if more:
        yield from wrapped(f"  {visible(more)}", width)
    if len(layers) < len(found.layers):
        yield f"  and {len(found.layers) - len(layers)} more; --all shows them"


def ranked(layers: Sequence[LayerError]) -> list[LayerError]:
    """Layers by what they do to the output, broken ones first."""
    return sorted(layers, key=lambda one: (one.problem is None, -(one.share or 0.0), -one.added))


class _Table:
    """The columns that there is room for, the layers' names shortened to what is left."""

    def __init__(
        self, layers: Sequence[LayerError], width: int, times: Times | None = None
    ) -> None:
        self.names = [visible(layer.name) for layer in layers]
        self.columns = list(COLUMNS)
        if times is not None:
            known = {each.name: each for each in times.layers}
            timed = _Column(TIME, lambda layer: layer_time(known.get(layer.name)), 0)
            self.columns.append(timed)
        self.cells = {one: [one.cell(layer) for layer in layers] for one in self.columns}
        self.widths = {one: max(map(len, (*self.cells[one], one.title))) for one in self.columns}
        wanted = min(max(map(len, (*self.names, "layer"))), LONGEST)
        while len(self.columns) > 1 and self._room(width) < min(wanted, READABLE):
            self.columns.remove(min(self.columns, key=lambda one: one.goes))
        self.first = max(NARROWEST, min(wanted, self._room(width)))

    def lines(self) -> Iterator[str]:
        """The heads and a line for each layer."""
        yield self._row("layer", [one.title for one in self.columns])
        for at, name in enumerate(self.names):
            short = name if len(name) <= self.first else f"...{name[3 - self.first :]}"
            yield self._row(short, [self.cells[one][at] for one in self.columns])

    def legend(self) -> Iterator[str]:
        """What the columns that are there mean."""
        titles = {one.title for one in self.columns}
        if "added" in titles:
            more = "; so far: of the whole network up to it" if "so far" in titles else ""
            yield (
                f"  added: error made in the layer{more}; in dB of the signal: 0 is as large as "
                "the signal, 10 less a tenth of its power"
            )
        if "bits" in titles:
            yield "  bits: of the codes of weights and of the input, - where there are none"
        if TIME in titles:
            yield "  ms: in the original -> compressed, with the conversions that the layer needs"

    def _room(self, width: int) -> int:
        """Columns that are left for the names."""
        return width - 2 - sum(2 + self.widths[one] for one in self.columns)

    def _row(self, name: str, cells: Sequence[str]) -> str:
        """Words to the left, numbers to the right."""
        parts = [
            cell.ljust(self.widths[one]) if one.left else cell.rjust(self.widths[one])
            for one, cell in zip(self.columns, cells, strict=True)
        ]
        return "  ".join(("", name.ljust(self.first), *parts)).rstrip()


def _unmatched(found: Diagnosis, every: bool) -> Iterator[str]:
    if not found.unmatched:
        return
    yield ""
    count = len(found.unmatched)
    yield f"{count} layer{'s' if count > 1 else ''} of the original without a counterpart"
    for why, names in by_reason(found.unmatched).items():
        shown = names if every else names[:NAMED]
        more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
        yield f"  {', '.join(shown)}{more}: {why}"
