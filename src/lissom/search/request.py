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
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.technique import TECHNIQUES, Track, silent

assert catalog.__all__, "importing the catalog fills the table of techniques"

TARGETS = {"onnxruntime": onnxruntime_target}


@dataclass(frozen=True)
class Request:
    """What `compress` was asked for besides the model and the task.

    Attributes:
        techniques: keep to these; empty tries all that make sense.
    """

    target: str = "onnxruntime"
    budget: Budget = field(default_factory=Budget)
    objective: Objective = "balanced"
    settings: Settings = field(default_factory=Settings)
    techniques: Sequence[str] = ()
    seed: int = 0
    track: Track = silent

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise unknown("target", self.target, TARGETS)
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
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
