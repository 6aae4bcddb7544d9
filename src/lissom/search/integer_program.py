"""Formats of layers as an integer program.

One binary variable says whether a layer is in a format (a layer has exactly one), as Hubara et al.
(Accurate Post Training Quantization With Small Calibration Sets, 2021, section 3.4) do. Here costs
are measured, and so are those of a change between codes and floats on an edge: with s the sum of
the binaries of a layer's formats on codes, the cost of a tensor is at least its milliseconds times
s - s' and s' - s for every reader. Layers that share a weight are one layer here.
scipy.optimize.milp (HiGHS) solves it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

from lissom.errors import RequestError
from lissom.tables import STATIC, Allocation, Change, Format, LatencyTable, Sensitivity, SizeTable

Array = NDArray[np.float64]

# A solution is the best one up to this share of its cost, or what was found in so many seconds.
GAP = 1e-6
SECONDS = 10.0
# Costs further apart than this are told apart in a second pass.
SPAN, TINY = 10.0, 1e-300
# What the solver allows beyond a limit, as a share of the largest cost, and how often a limit is
# drawn closer for it.
TOLERANCE, ATTEMPTS = 1e-6, 8
# What an allocation may be beyond a limit in milliseconds, and be within it, as a share.
SLACK = 1e-9
OUT_OF_TIME = 1
FLOAT: Format = "float32"
Cost = Literal["error", "bytes", "ms"]


@dataclass(frozen=True)
class Choice:
    """Layers of one format, with what that makes: error, bytes and milliseconds of all of them."""

    layers: tuple[str, ...]
    form: Format
    error: float
    bytes: int
    ms: float


class Impossible(RequestError):
    """No allocation is within the limits."""


@dataclass
class Program:
    """The integer program without its limits.

    Attributes:
        sensitivity, sizes, latency: the tables.
        choices: one binary variable each.
        groups: for each group of layers the variables of which exactly one is chosen.
        changes: changes between codes and floats, by tensor, with a variable for each tensor.
    """

    sensitivity: Sensitivity
    sizes: SizeTable | None
    latency: LatencyTable | None
    choices: list[Choice]
    groups: list[list[int]]
    changes: dict[str, list[Change]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        sensitivity: Sensitivity,
        sizes: SizeTable | None,
        latency: LatencyTable | None,
        tied: Iterable[Sequence[str]],
    ) -> Program:
        if not sensitivity.layers:
            raise RequestError("the table of sensitivities knows no layer", where="allocate")
        errors = {layer.name: {FLOAT: 0.0, **layer.errors} for layer in sensitivity.layers}
        choices: list[Choice] = []
        groups: list[list[int]] = []
        for names in _together(list(errors), tied):
            first = len(choices)
            for form in errors[names[0]]:
                found = _choice(names, form, errors, sizes, latency)
                if found is not None:
                    choices.append(found)
            if len(choices) == first:
                raise RequestError(
                    f"the tables have no format in common for {', '.join(names)}",
                    fix="make the tables with the same formats",
                )
            groups.append(list(range(first, len(choices))))
        changes: dict[str, list[Change]] = {}
        for change in latency.changes if latency is not None else ():
            if change.ms > 0:
                changes.setdefault(change.tensor, []).append(change)
        return cls(sensitivity, sizes, latency, choices, groups, changes)

    def solve(
        self, most_bytes: float | None, most_ms: float | None, *, least: Cost = "error"
    ) -> Allocation:
        """The allocation of least error, bytes or ms within the limits.

        Raises:
            Impossible: there is none.
        """
        limits: dict[Cost, float] = {}
        if most_bytes is not None:
            limits["bytes"] = most_bytes
        if most_ms is not None:
            limits["ms"] = most_ms * (1 + SLACK)
        asked = dict(limits)
        for attempt in range(ATTEMPTS):
            found = self._solved(limits, least)
            above = {name: (getattr(found, name) or 0.0) - most for name, most in asked.items()}
            if all(excess <= 0 for excess in above.values()):
                return found
            # The solver is content with what is a hair beyond a limit.
            for name, excess in above.items():
                if excess > 0:
                    limits[name] -= 2**attempt * max(excess, TOLERANCE * self._costs(name).max())
        raise Impossible("formats within the limits could not be told from those beyond them")

    def _solved(self, limits: Mapping[Cost, float], least: Cost) -> Allocation:
        count, tensors = len(self.choices), len(self.changes)
        constraints = [self._one_of_each(), *self._changed()]
        for name, limit in limits.items():
            costs, left = self._costs(name), limit - self._fixed(name)
            unit = max(costs.max(), TINY)
            constraints.append(LinearConstraint(costs[None, :] / unit, -np.inf, left / unit))
        cost = self._costs(least)
        highest = np.r_[np.ones(count), np.full(tensors, np.inf)]
        largest = cost.max()
        while True:
            with _unheard():
                result: OptimizeResult = milp(
                    cost / max(largest, TINY),
                    constraints=constraints,
                    integrality=np.r_[np.ones(count), np.zeros(tensors)],
                    bounds=Bounds(0.0, highest),
                    options={"mip_rel_gap": GAP, "time_limit": SECONDS},
                )
            if result.status == OUT_OF_TIME and result.x is None:
                raise RequestError(
                    f"no choice of formats was found in {SECONDS:g} s",
                    fix="give tables of fewer formats, or a limit that is less tight",
                )
            if result.x is None:
                raise Impossible(f"no choice of formats is within the limits: {result.message}")
            # What the solver takes for equal is a share of the largest cost. Costs span many powers
            # of ten: leave out what alone is worse than the solution, and tell the rest apart.
            found = float(cost @ result.x)
            if not 0.0 < found < largest / SPAN:
                return self._allocation(result.x[:count])
            highest[:count][cost[:count] > found * (1 + SLACK)] = 0.0
            largest = found

    def _costs(self, name: Cost) -> Array:
        """What each variable adds to the error, bytes or milliseconds."""
        unit = self._unit if name == "ms" else 0.0
        mine = [float(getattr(choice, name)) for choice in self.choices]
        return np.array(mine + [unit] * len(self.changes))

    @property
    def _unit(self) -> float:
        """The variables of changes are in shares of this many milliseconds."""
        changes = (change.ms for each in self.changes.values() for change in each)
        return max([*changes, *(choice.ms for choice in self.choices), TINY])

    def least(self, *, bytes_: bool) -> float:
        """The fewest bytes, or milliseconds, that are possible."""
        found = self._solved({}, "bytes" if bytes_ else "ms")
        return float((found.bytes if bytes_ else found.ms) or 0.0)

    def _one_of_each(self) -> LinearConstraint:
        rows = np.concatenate([np.full(len(group), at) for at, group in enumerate(self.groups)])
        columns = np.concatenate(self.groups)
        shape = (len(self.groups), len(self.choices) + len(self.changes))
        matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        return LinearConstraint(matrix, 1, 1)

    def _changed(self) -> list[LinearConstraint]:
        """m_t >= ms (s - s') and m_t >= ms (s' - s) for every change of tensor t."""
        count = len(self.choices)
        on_codes: dict[str, list[int]] = {}
        for at, choice in enumerate(self.choices):
            for layer in choice.layers if choice.form in STATIC else ():
                on_codes.setdefault(layer, []).append(at)
        rows = []
        for place, changes in enumerate(self.changes.values()):
            for change in changes:
                row = np.zeros(count + len(self.changes))
                # Layers of one group may be on both sides, and cancel out.
                np.add.at(row, on_codes.get(change.before or "", []), change.ms / self._unit)
                np.add.at(row, on_codes.get(change.after or "", []), -change.ms / self._unit)
                for sign in (1.0, -1.0):
                    signed = sign * row
                    signed[count + place] = -1.0
                    rows.append(signed)
        return [LinearConstraint(sparse.csr_array(np.array(rows)), -np.inf, 0.0)] if rows else []

    def _fixed(self, name: Cost) -> float:
        """Bytes or milliseconds of what no choice changes."""
        table = self.sizes if name == "bytes" else self.latency
        if table is None:
            return 0.0
        known = {layer for choice in self.choices for layer in choice.layers}
        others = (each.get(FLOAT, 0) for at, each in table.layers.items() if at not in known)
        return float(table.rest + sum(others))

    def _allocation(self, chosen: Array) -> Allocation:
        formats: dict[str, Format] = {}
        for group in self.groups:
            choice = self.choices[group[int(np.argmax(chosen[group]))]]
            formats.update(dict.fromkeys(choice.layers, choice.form))
        order = [layer.name for layer in self.sensitivity.layers]
        plain = Allocation(formats={name: formats[name] for name in order})
        return plain.model_copy(
            update={
                "error": self.sensitivity.predict(plain),
                "bytes": None if self.sizes is None else self.sizes.predict(plain),
                "ms": None if self.latency is None else self.latency.predict(plain),
            }
        )


def _choice(
    names: tuple[str, ...],
    form: Format,
    errors: dict[str, dict[Format, float]],
    sizes: SizeTable | None,
    latency: LatencyTable | None,
) -> Choice | None:
    """Layers in a format; None where a table that knows one of them has no number for it."""
    if any(form not in errors[name] for name in names):
        return None
    total_bytes, total_ms = 0, 0.0
    for name in names:
        size = {} if sizes is None else sizes.layers.get(name, {})
        time = {} if latency is None else latency.layers.get(name, {})
        if (size and form not in size) or (time and form not in time):
            return None
        total_bytes += size.get(form, 0)
        total_ms += time.get(form, 0.0)
    error = sum(errors[name][form] for name in names)
    # Outputs that overflowed have no error that could be compared.
    if not (math.isfinite(error) and math.isfinite(total_ms)):
        return None
    return Choice(names, form, error, total_bytes, total_ms)


def _together(names: Sequence[str], tied: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Layers in groups, those that are tied in one, in the order of the first of each."""
    root = {name: name for name in names}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for group in tied:
        known = [find(name) for name in group if name in root]
        for name in known[1:]:
            root[find(name)] = find(known[0])
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(find(name), []).append(name)
    return [tuple(group) for group in groups.values()]


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep what HiGHS prints for its own developers off the process's stdout, where JSON may go."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:
        # There is no stdout.
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
