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
from lissom.search.effort import find_effort
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.technique import TECHNIQUES, Track, silent

assert catalog.__all__, "importing the catalog fills the table of techniques"

TARGETS = {"onnxruntime": onnxruntime_target}


@dataclass(frozen=True)
class Request:
    """What `compress` was asked for besides the model and the task.

    Attributes:
        techniques: keep to these; empty tries all that make sense.
        cpu: the class of processor the model will run on; None is this machine's.
        effort: a key of `EFFORTS`: how many candidates, and on how many samples they are judged.
    """

    target: str = "onnxruntime"
    cpu: str | None = None
    budget: Budget = field(default_factory=Budget)
    objective: Objective = "balanced"
    settings: Settings = field(default_factory=Settings)
    techniques: Sequence[str] = ()
    seed: int = 0
    effort: str = "normal"
    track: Track = silent

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise unknown("target", self.target, TARGETS)
        self._check_cpu()
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
        find_effort(self.effort)
        if isinstance(self.techniques, str):
            object.__setattr__(self, "techniques", (self.techniques,))
        for name in self.techniques:
            if name not in TECHNIQUES:
                raise unknown("technique", name, TECHNIQUES)
        for name in ("batch", "threads", "processes", "seconds"):
            value = getattr(self.settings, name)
            if not 0 < value < math.inf:
                raise RequestError(
                    f"the settings ask for {name}={value}", fix="give a number above zero"
                )

    def _check_cpu(self) -> None:
        """Refuse to judge times of a processor that is not here."""
        target = TARGETS[self.target](self.cpu)
        if target.here:
            return
        stated = self.budget.stated()
        limits: list[str] = [name for name in ("latency", "throughput") if name in stated]
        if self.objective == "latency":
            limits.append("objective")
        if limits:
            raise RequestError(
                f"the {limits[0]} cannot be judged here: {target.cpu} was asked for, and times "
                f"measured on this machine ({TARGETS[self.target]().cpu}) say nothing of it",
                where=f"cpu {target.cpu}",
                fix="leave it out, or run the same command on such a machine",
            )
