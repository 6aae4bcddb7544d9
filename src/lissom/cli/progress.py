"""Progress bars with the time left, on a terminal; silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lissom.technique import Track, silent

T = TypeVar("T")


class _Bars:
    """A track that draws one bar per loop that is running."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __call__(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        if total is None and isinstance(items, Sized):
            total = len(items)
        bar = self.progress.add_task(label, total=total)
        try:
            for item in items:
                name = getattr(item, "name", None)
                self.progress.update(
                    bar, description=f"{label}: {name}" if isinstance(name, str) else label
                )
                yield item
                self.progress.advance(bar)
        finally:
            self.progress.remove_task(bar)


@contextmanager
def watched(quiet: bool) -> Iterator[Track]:
    """A track for the time of one command: bars on stderr if it is a terminal."""
    # Not rich's own idea of a terminal: variables such as FORCE_COLOR would draw bars into logs.
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(progress)
