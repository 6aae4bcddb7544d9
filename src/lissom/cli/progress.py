"""Progress bars with the time left, on a terminal; silence elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
        if total is None:
            total = len(items) if hasattr(items, "__len__") else None
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
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent
        return
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
