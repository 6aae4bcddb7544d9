"""How far a long command is: bars with the time left on a terminal, lines now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from lissom.report.text import duration
from lissom.technique import Track, silent

T = TypeVar("T")

# Seconds between the lines of a log: often enough to see that it goes on, and where.
EVERY = 15.0


class _Bars:
    """A track that draws one bar per loop that is running."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        total = _count(items) if total is None else total
        bar = self.progress.add_task(label, total=total)
        try:
            for item in items:
                self.progress.update(bar, description=_title(label, item))
                yield item
                self.progress.advance(bar)
        finally:
            self.progress.remove_task(bar)


class _Clock(ProgressColumn):
    """The time a loop has taken, and what it will still take."""

    def render(self, task: Task) -> Text:
        return Text(_times(task.elapsed or 0.0, task.time_remaining))


@dataclass(eq=False)
class _Loop:
    title: str
    done: int
    total: int | None
    started: float
    advanced: float

    def told(self) -> str:
        """Which item it is at, of how many."""
        of = "" if self.total is None else f" of {self.total}"
        return f"{self.title} ({self.done + 1}{of})"

    def left(self, now: float) -> float | None:
        """Seconds that it takes still, if the rest goes as what is done."""
        if self.total is None or not self.done:
            return None
        each = (self.advanced - self.started) / self.done
        return max(0.0, each * (self.total - self.done) - (now - self.advanced))


class _Lines:
    """A track that writes a line when an item begins and the last line was some time ago."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.loops: list[_Loop] = []
        self.last = time.monotonic()

    def __call__(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        total = _count(items) if total is None else total
        started = time.monotonic()
        loop = _Loop(label, 0, total, started, started)
        self.loops.append(loop)
        try:
            for item in items:
                loop.title = _title(label, item)
                self._tell()
                yield item
                loop.done, loop.advanced = loop.done + 1, time.monotonic()
        finally:
            self.loops.remove(loop)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self.last < EVERY:
            return
        self.last = now
        first = self.loops[0]
        where = ", ".join(loop.told() for loop in self.loops)
        print(f"{where}: {_times(now - first.started, first.left(now))}", file=self.out, flush=True)


def _count(items: Iterable[object]) -> int | None:
    """How many items there are, None where that is not known: batches of a function are Sized, and
    refuse to tell."""
    try:
        return len(items) if isinstance(items, Sized) else None
    except TypeError:
        return None


def _title(label: str, item: object) -> str:
    name = getattr(item, "name", None)
    return f"{label}: {name}" if isinstance(name, str) else label


def _times(so_far: float, left: float | None) -> str:
    told = f"{duration(so_far)} so far"
    return told if left is None else f"{told}, about {duration(left)} left"


@contextmanager
def watched(quiet: bool) -> Iterator[Track]:
    """A track for the time of one command: bars on stderr if it is a terminal, else lines there."""
    # Not rich's own idea of a terminal: variables such as FORCE_COLOR would draw bars into logs.
    if quiet:
        yield silent
        return
    if not sys.stderr.isatty():
        yield _Lines(sys.stderr)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        _Clock(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress)
