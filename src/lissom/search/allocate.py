"""A format for every layer: the least predicted error under limits, and the fronts of all of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lissom.errors import RequestError
from lissom.search.integer_program import SLACK, Cost, Impossible, Program
from lissom.tables import Allocation, LatencyTable, Sensitivity, SizeTable
from lissom.technique import Track, silent

# Limits that a front is looked for at.
LIMITS = 24


def allocate(
    sensitivity: Sensitivity,
    sizes: SizeTable | None = None,
    latency: LatencyTable | None = None,
    *,
    most_bytes: int | None = None,
    most_ms: float | None = None,
    tied: Iterable[Sequence[str]] = (),
    least: Cost = "error",
) -> Allocation:
    """The format of every layer that makes the least summed error within the limits.

    A layer is given a format that it was measured in by every table that knows the layer; those
    that `sensitivity` does not know stay float32. The same tables give the same allocation, unless
    a solution takes more than `SECONDS`, which hundreds of layers in ten formats do not; then it is
    the best that was found.

    Args:
        sensitivity: errors by layer and format.
        sizes: bytes by layer and format, which a limit on them needs.
        latency: milliseconds likewise.
        most_bytes: of the file.
        most_ms: of a run.
        tied: groups of layers that must have one format, as those that share a weight.
        least: what is to be least instead of the error: the bytes or the milliseconds.

    Returns:
        The allocation, with what the tables predict of it.

    Raises:
        RequestError: no allocation is within the limits: the least possible is said; or a limit is
            given without its table.
    """
    program = Program.of(sensitivity, sizes, latency, tied)
    return _within(program, most_bytes, most_ms, least)


def front(
    sensitivity: Sensitivity,
    sizes: SizeTable | None = None,
    latency: LatencyTable | None = None,
    *,
    tied: Iterable[Sequence[str]] = (),
    limits: int | None = LIMITS,
    most: float | None = None,
    track: Track = silent,
) -> tuple[Allocation, ...]:
    """Allocations none of which is beaten in error and bytes, or in error and milliseconds.

    By bytes where there is no latency table, else by milliseconds: for a front of each call it
    with one table.

    Args:
        sensitivity, sizes, latency, tied: as of `allocate`.
        limits: the front is looked for at so many limits, evenly spread from the least possible to
            that of the least error. None finds every allocation of the front, of which a large
            network has thousands.
        most: bytes, or milliseconds, beyond which it is not looked for.
        track: shows how many limits are done.

    Returns:
        The dearest first: its error is the least of all. Empty where all cost more than `most`.

    Raises:
        RequestError: there is neither table.
    """
    if sizes is None and latency is None:
        raise RequestError("a front needs a table of sizes or of latencies", where="front")
    program = Program.of(sensitivity, sizes, latency, tied)
    found = _downward(program, latency, limits, most)
    return _undominated(list(track(found, "front of error", limits)), latency)


def _downward(
    program: Program, latency: LatencyTable | None, limits: int | None, most: float | None
) -> Iterator[Allocation]:
    """The allocations of least error at limits that fall, each cheaper than the one before."""
    least = program.least(bytes_=latency is None)
    first = last = math.inf
    limit = most
    while True:
        try:
            now = program.solve(limit, None) if latency is None else program.solve(None, limit)
        except Impossible:
            return
        cost = _cost(now, latency)
        if math.isinf(first):
            first = cost
        if cost < last:
            last = cost
            yield now
        if cost <= least * (1 + SLACK):
            return
        # Below the last one, so that each limit gives another allocation.
        limit = cost - 1 if latency is None else cost * (1 - 1e-6)
        if limits is not None:
            step = (first - least) / max(1, limits - 1)
            limit = max(least, min(limit, least + step * np.floor((limit - least) / step)))


def _within(
    program: Program, most_bytes: int | None, most_ms: float | None, least: Cost
) -> Allocation:
    for limit, table, name in (
        (most_bytes, program.sizes, "bytes"),
        (most_ms, program.latency, "milliseconds"),
    ):
        if limit is not None and table is None:
            raise RequestError(f"a limit in {name} needs the table of {name}", where="allocate")
    try:
        return program.solve(most_bytes, most_ms, least=least)
    except Impossible:
        raise _refusal(program, most_bytes, most_ms) from None


def _refusal(program: Program, most_bytes: int | None, most_ms: float | None) -> RequestError:
    """What is possible instead."""
    parts, wanted = [], []
    if most_bytes is not None:
        least = program.least(bytes_=True)
        parts.append(f"the fewest bytes are {least:,.0f}")
        wanted.append(f"{most_bytes:,} bytes")
        if most_ms is not None and least <= most_bytes:
            fastest = program.solve(most_bytes, None, least="ms")
            parts[-1:] = [f"within {most_bytes:,} bytes a run takes {fastest.ms:.4g} ms at least"]
    if most_ms is not None:
        least = program.least(bytes_=False)
        wanted.append(f"{most_ms:g} ms")
        if most_bytes is not None and least <= most_ms:
            smallest = program.solve(None, most_ms, least="bytes")
            parts.append(f"within {most_ms:g} ms the fewest bytes are {smallest.bytes:,}")
        else:
            parts.append(f"the least latency is {least:.4g} ms")
    return RequestError(
        f"no choice of formats is within {' and '.join(wanted)}",
        where="; ".join(parts),
        fix="raise the limit, or measure formats of fewer bits",
    )


def _cost(allocation: Allocation, latency: LatencyTable | None) -> float:
    return float((allocation.bytes if latency is None else allocation.ms) or 0.0)


def _undominated(
    found: Sequence[Allocation], latency: LatencyTable | None
) -> tuple[Allocation, ...]:
    """Those that no cheaper one is as good as, the dearest first."""
    kept: list[Allocation] = []
    for each in sorted(found, key=lambda one: (_cost(one, latency), one.error or 0.0)):
        if not kept or (each.error or 0.0) < (kept[-1].error or 0.0):
            kept.append(each)
    return tuple(reversed(kept))
