"""A format for every layer: the least predicted error under limits, and the fronts of all of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lissom.errors import RequestError
from lissom.search.integer_program import SLACK, Impossible, Program
from lissom.tables import Allocation, LatencyTable, Sensitivity, SizeTable

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

    Returns:
        The allocation, with what the tables predict of it.

    Raises:
        RequestError: no allocation is within the limits: the least possible is said; or a limit is
            given without its table.
    """
    program = Program.of(sensitivity, sizes, latency, tied)
    return _within(program, most_bytes, most_ms)


def front(
    sensitivity: Sensitivity,
    sizes: SizeTable | None = None,
    latency: LatencyTable | None = None,
    *,
    tied: Iterable[Sequence[str]] = (),
    limits: int | None = LIMITS,
) -> tuple[Allocation, ...]:
    """Allocations none of which is beaten in error and bytes, or in error and milliseconds.

    By bytes where there is no latency table, else by milliseconds: for a front of each call it
    with one table.

    Args:
        sensitivity, sizes, latency, tied: as of `allocate`.
        limits: the front is looked for at so many limits, evenly spread from the least possible to
            that of the least error. None finds every allocation of the front, of which a large
            network has thousands.

    Returns:
        The dearest first: its error is the least of all.

    Raises:
        RequestError: there is neither table.
    """
    if sizes is None and latency is None:
        raise RequestError("a front needs a table of sizes or of latencies", where="front")
    program = Program.of(sensitivity, sizes, latency, tied)
    least = program.least(bytes_=latency is None)
    found: list[Allocation] = []
    limit: float | None = None
    while True:
        try:
            now = program.solve(limit, None) if latency is None else program.solve(None, limit)
        except Impossible:
            break
        cost = _cost(now, latency)
        if not found or cost < _cost(found[-1], latency):
            found.append(now)
        if cost <= least * (1 + SLACK):
            break
        # Below the last one, so that each limit gives another allocation.
        limit = cost - 1 if latency is None else cost * (1 - 1e-6)
        if limits is not None:
            dearest = _cost(found[0], latency)
            step = (dearest - least) / max(1, limits - 1)
            limit = max(least, min(limit, least + step * np.floor((limit - least) / step)))
    return _undominated(found, latency)


def _within(program: Program, most_bytes: int | None, most_ms: float | None) -> Allocation:
    for limit, table, name in (
        (most_bytes, program.sizes, "bytes"),
        (most_ms, program.latency, "milliseconds"),
    ):
        if limit is not None and table is None:
            raise RequestError(f"a limit in {name} needs the table of {name}", where="allocate")
    try:
        return program.solve(most_bytes, most_ms)
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
