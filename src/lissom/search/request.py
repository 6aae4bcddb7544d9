"""What a search or a recipe run was asked for, checked before the model is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from lissom.errors import RequestError, unknown
from lissom.measurement.records import Settings
from lissom.recipe import catalog
from lissom.search.budget import Budget
from lissom.search.choose import OBJECTIVES, Objective
from lissom.search.clock import Clock, clock_of
from lissom.search.effort import find_effort
from lissom.targets.named import DEFAULT, check_runtime, find_target
from lissom.targets.target import Target
from lissom.technique import TECHNIQUES, Track, silent

assert catalog.__all__, "importing the catalog fills the table of techniques"

# Which is no candidate of its own.
MIXED = "quantize.mixed"


@dataclass(frozen=True)
class Request:
    """What `compress` was asked for besides the model and the task.

    Attributes:
        target: the runtime, or several: every file is then measured in each, and the limits hold
            in all of them. The first is the one that the summary speaks of.
        techniques: keep to these; empty tries all that make sense.
        cpu: the class of processor the model will run on; None is this machine's.
        effort: a key of `EFFORTS`: how many candidates, and on how many samples they are judged.
        time: the longest that a search may take, "10m" or seconds; None is without a limit. It
            becomes a clock that counts from here on; a clock that runs already is kept.
    """

    target: str | Sequence[str] = DEFAULT
    cpu: str | None = None
    budget: Budget = field(default_factory=Budget)
    objective: Objective = "balanced"
    settings: Settings = field(default_factory=Settings)
    techniques: Sequence[str] = ()
    seed: int = 0
    effort: str = "normal"
    time: str | float | Clock | None = None
    track: Track = silent

    def __post_init__(self) -> None:
        if isinstance(self.target, str):
            object.__setattr__(self, "target", (self.target,))
        self._check_targets()
        self._check_cpu()
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
        find_effort(self.effort)
        object.__setattr__(self, "time", clock_of(self.time))
        if isinstance(self.techniques, str):
            object.__setattr__(self, "techniques", (self.techniques,))
        for name in self.techniques:
            if name not in TECHNIQUES:
                raise unknown("technique", name, TECHNIQUES)
        if MIXED in self.techniques and not find_effort(self.effort).mixed:
            raise RequestError(
                f"{MIXED} is only tried with --effort thorough: which layer gets which format "
                "hangs on tables of all layers",
                fix="add --effort thorough, or name the layers in a recipe",
            )
        for name in ("batch", "threads", "processes", "seconds"):
            value = getattr(self.settings, name)
            if not 0 < value < math.inf:
                raise RequestError(
                    f"the settings ask for {name}={value}", fix="give a number above zero"
                )

    @property
    def clock(self) -> Clock:
        """Counts what is left of the limit on the time."""
        return clock_of(self.time)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The runtimes, on the class of processor that was asked for."""
        return tuple(find_target(name, self.cpu) for name in self.target)

    def _check_targets(self) -> None:
        if not self.target:
            raise RequestError("no target is given", fix=f"give one, such as {DEFAULT}")
        for name in self.target:
            check_runtime(name)
        if len({*self.target}) < len(self.target):
            raise RequestError(
                f"a target is given twice: {', '.join(self.target)}", fix="give each once"
            )

    def _check_cpu(self) -> None:
        """Refuse to judge times of a processor that is not here."""
        target = next((each for each in self.targets if not each.here), None)
        if target is None:
            return
        stated = self.budget.stated()
        limits: list[str] = [name for name in ("latency", "throughput") if name in stated]
        if self.objective == "latency":
            limits.append("objective")
        if limits:
            raise RequestError(
                f"the {limits[0]} cannot be judged here: {target.cpu} was asked for, and times "
                f"measured on this machine ({find_target(target.name).cpu}) say nothing of it",
                where=f"cpu {target.cpu}",
                fix="leave it out, or run the same command on such a machine",
            )
