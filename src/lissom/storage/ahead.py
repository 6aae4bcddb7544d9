"""Work that threads do ahead of its turn, handed out in order, and never much of it at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

# Each may hold a blob and its content, so more of them would make the memory bound a large one.
MOST_THREADS = 8

A = TypeVar("A")
B = TypeVar("B")


def in_order(function: Callable[[A], B], items: Iterable[A], *, threads: int) -> Iterator[B]:
    """`map(function, items)`, of which `threads` are worked on while one is waited for.

    What waits is bounded: at most `threads` results and the items they come from. The kernels
    that code and decode release the interpreter's lock, so threads do share the work.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    # Not before it is needed: opening a small archive would take a fifth longer.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def usable_threads() -> int:
    """Cores this process may use, at most MOST_THREADS."""
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return min(cores, MOST_THREADS)
