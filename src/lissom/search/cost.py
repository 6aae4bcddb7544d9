"""What a candidate takes to build and to measure, expected from those that are done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict

from lissom.recipe.run import versions
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import digest
from lissom.report.results import Row
from lissom.search.estimate import calibration_samples
from lissom.search.ready import Ready, run_once

# Passes over the calibration data (they observe ranges, or learn codes layer by layer), measured
# on a depthwise network, a ResNet and a transformer; each step writes and loads its file besides.
PASSES = {"nearest": 3.0, "learned": 20.0}
OVERHEAD = 0.5
# Bytes of weights that are packed in a second, and whatever is not known takes as long.
PACKED = 2e7
# What was not seen yet may take so many times longer than what was.
UNKNOWN = 1.25


class Took(BaseModel):
    """Seconds of one piece of work when it was really done, kept for runs that go on."""

    model_config = ConfigDict(frozen=True)

    seconds: float


@dataclass
class Costs:
    """Expectations of one search, corrected by every candidate that is done.

    Attributes:
        ready: what is searched.
        one_pass: seconds that the network takes over the calibration data once.
        bytes: of the network's weights.
        measuring: seconds that measuring one file took so far, at most.
    """

    ready: Ready
    one_pass: float
    bytes: int
    measuring: float = 0.0
    _known: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def expected(self, recipe: Recipe) -> float:
        """Seconds that building and measuring will take; 0 of what an earlier run has finished."""
        return self.building(recipe) + (
            0.0 if self.took("measure", recipe) is not None else self.measuring
        )

    def again(self, recipe: Recipe) -> float:
        """Seconds of another candidate that is like a finished one."""
        return self._new(recipe) + self.measuring

    def building(self, recipe: Recipe) -> float:
        """Seconds that building alone will take; 0 where an earlier run did it."""
        return 0.0 if self.took("build", recipe) is not None else self._new(recipe)

    def _new(self, recipe: Recipe) -> float:
        """Seconds of building: as many times longer than expected before anything was done as
        candidates of the same kind took, or all of them where there is none of its kind."""
        same = self._known.get(_kind(recipe)) or [
            pair for pairs in self._known.values() for pair in pairs
        ]
        ratio = float(np.median([spent / before for before, spent in same])) if same else 1.0
        if _kind(recipe) not in self._known:
            ratio *= UNKNOWN
        return ratio * self._before(recipe)

    def learn(self, recipe: Recipe, building: float, measuring: float) -> None:
        """Take in what a candidate took; of what was there already, what it took the first time."""
        build = self.keep("build", recipe, building)
        self._known.setdefault(_kind(recipe), []).append((self._before(recipe), build))
        self.learn_measuring(recipe, measuring)

    def learn_measuring(self, recipe: Recipe | None, seconds: float) -> None:
        """Take in what measuring a candidate took, or the original where it is none."""
        self.measuring = max(self.measuring, self.keep("measure", recipe, seconds))

    def keep(self, of: str, recipe: Recipe | None, seconds: float) -> float:
        """What a piece of work took the first time that it was done."""
        return self.ready.evaluation.store.record(
            self._key(of, recipe), Took, lambda: Took(seconds=seconds)
        ).seconds

    def took(self, of: str, recipe: Recipe) -> float | None:
        """The same, None where it has not been done yet."""
        kept = self.ready.evaluation.store.find(self._key(of, recipe), Took)
        return None if kept is None else kept.seconds

    def _before(self, recipe: Recipe) -> float:
        """Seconds of building, expected from one pass over the data and the bytes of weights."""
        return sum(self._of(step) for step in recipe.steps)

    def _of(self, step: Step) -> float:
        settings = step.settings()
        if step.technique not in ("quantize.static", "quantize.mixed"):
            return OVERHEAD + self.bytes / PACKED
        return OVERHEAD + self.one_pass * PASSES[getattr(settings, "rounding", "nearest")]

    def _key(self, of: str, recipe: Recipe | None) -> str:
        ready = self.ready
        evaluation, context = ready.evaluation, ready.context
        calibration = context.calibration
        return digest(
            of=f"seconds to {of}",
            start=ready.prepared.built.key,
            steps=[] if recipe is None else recipe.model_dump(mode="json")["steps"],
            data=calibration.digest() if calibration is not None else "",
            task=evaluation.task.digest() if evaluation.task is not None else "",
            settings=evaluation.settings.model_dump(mode="json") if of == "measure" else {},
            seed=context.seed,
            machine=evaluation.machine,
            code=versions(),
        )


def _kind(recipe: Recipe) -> str:
    """Candidates whose building takes a like time."""
    last = recipe.steps[-1]
    return f"{last.technique} {last.config.get('rounding', '')}"


def costs_of(ready: Ready, first: Row, weights: int, measuring: float) -> Costs:
    """What is expected before any candidate is done.

    Args:
        ready: what is searched.
        first: the original, measured.
        weights: bytes of the network's weights.
        measuring: seconds that measuring the original took now.
    """
    costs = Costs(ready, _one_pass(ready, first), weights)
    costs.learn_measuring(None, measuring)
    return costs


def _one_pass(ready: Ready, first: Row) -> float:
    """Seconds of the network on the calibration data; the data are counted for a limit only."""
    task, latency = ready.task, first.measurement.latency
    samples = (calibration_samples(task) or 0) if ready.request.clock.limited else 0
    if latency is not None:
        return samples / latency.throughput
    started = time.perf_counter()
    run_once(ready.targets[0].open, ready.prepared.original.path, ready.feeds)
    return samples * (time.perf_counter() - started) / ready.evaluation.settings.batch
