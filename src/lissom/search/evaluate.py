"""Measure a file next to the original, each part of the measurement kept in the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from lissom.arrays import Batch, Hasher
from lissom.measurement.footprint import footprint
from lissom.measurement.latency import compare_speed, time_alone
from lissom.measurement.quality import judge, statistics_of
from lissom.measurement.records import Footprint, Latency, Measurement, Quality, Settings, Speed
from lissom.recipe.run import Built, versions
from lissom.recipe.store import Store, digest
from lissom.targets.named import DEFAULT
from lissom.task import Task
from lissom.technique import Track

STATISTICS = "statistics.npy"


class _Timed(BaseModel):
    """The original timed alone, as a record of its own."""

    model_config = ConfigDict(frozen=True)

    latency: Latency


@dataclass(frozen=True)
class Evaluation:
    """How every file of one search is measured.

    Attributes:
        original: the file all others are compared with.
        feeds: one set of inputs for timing.
        task: judges quality, or None.
        machine: facts that make a measurement of another machine another measurement.
        timed: times measured on this machine tell something of the one the files are built for.
        exact: this machine needs to be told to add as exactly as that one.
        runtime: the one that files are measured in, a name of `lissom.targets.named`.
        beside: the same in other runtimes, where several were asked for; `task` is this one's.
    """

    original: Built
    feeds: Batch
    task: Task | None
    settings: Settings
    machine: str
    seed: int
    store: Store
    track: Track
    timed: bool = True
    exact: bool = False
    runtime: str = DEFAULT
    beside: tuple[Evaluation, ...] = ()

    def of_original(self) -> Measurement:
        """The original on its own."""
        latency = self._alone() if self.timed else None
        return Measurement(
            footprint=self._footprint(self.original),
            latency=latency,
            speed=None,
            quality=self._quality(self.original),
            runtime=self.runtime,
            elsewhere=tuple(each.of_original() for each in self._others()),
        )

    def of(self, candidate: Built) -> Measurement:
        """A candidate, timed in turns with the original."""
        speed = self._speed(candidate) if self.timed else None
        return Measurement(
            footprint=self._footprint(candidate),
            latency=speed.candidate if speed is not None else None,
            speed=speed,
            quality=self._quality(candidate),
            runtime=self.runtime,
            elsewhere=tuple(each.of(candidate) for each in self._others()),
        )

    def _others(self) -> Iterator[Evaluation]:
        for each in self.beside:
            yield dataclasses.replace(each, task=self.task)

    def _alone(self) -> Latency:
        timed = self.store.record(
            self._key("alone", self.original),
            _Timed,
            lambda: _Timed(
                latency=time_alone(
                    self.original.path, self.feeds, self.settings, self.track, self.runtime
                )
            ),
        )
        return timed.latency

    def _speed(self, candidate: Built) -> Speed:
        return self.store.record(
            self._key("speed", self.original, candidate),
            Speed,
            lambda: compare_speed(
                self.original.path,
                candidate.path,
                self.feeds,
                self.settings,
                self.track,
                self.runtime,
            ),
        )

    def _footprint(self, built: Built) -> Footprint:
        key = self._key("footprint", built)
        return self.store.record(key, Footprint, lambda: self._weigh(built))

    def _weigh(self, built: Built) -> Footprint:
        return footprint(
            built.path,
            self.feeds,
            samples=self.settings.batch,
            threads=self.settings.threads,
            runtime=self.runtime,
        )

    def _quality(self, built: Built) -> Quality | None:
        if self.task is None or self.task.validation is None:
            return None
        return judge(
            self.task.metric,
            self._statistics(self.original),
            self._statistics(built),
            fidelity=self.task.fidelity,
            seed=self.seed,
        )

    def _statistics(self, built: Built) -> np.ndarray:
        task = self.task
        assert task is not None
        key = digest(
            of="quality",
            model=built.key,
            original=self.original.key if task.fidelity else "",
            task=task.digest(),
            code=versions(),
            machine=self.machine,
            exact=self.exact,
            runtime=self.runtime,
        )

        def compute(folder: Path) -> None:
            found = statistics_of(
                built.path,
                task,
                original=self.original.path,
                track=self.track,
                exact=self.exact,
                runtime=self.runtime,
            )
            np.save(folder / STATISTICS, found, allow_pickle=False)

        return np.asarray(np.load(self.store.step(key, compute) / STATISTICS, allow_pickle=False))

    def _key(self, of: str, *models: Built) -> str:
        feeds = Hasher()
        feeds.inputs(self.feeds)
        return digest(
            of=of,
            models=[built.key for built in models],
            settings=self.settings.model_dump(mode="json"),
            feeds=feeds.hexdigest(),
            code=versions(),
            machine=self.machine,
            runtime=self.runtime,
        )
