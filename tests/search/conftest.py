"""One search of a small model, finished once and copied by the tests that go on from it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import lissom
from lissom.measurement.records import Footprint, Latency, Settings, Speed
from lissom.search import evaluate
from lissom.search.compress import Result
from lissom.task import Task
from tests import models
from tests.search.rows import measurement

# One short process for each file: here the numbers need be there, not good.
BRIEF = Settings(seconds=0.05, processes=1)
STATIC = ("quantize.static",)
# Machines whose kernels take 7 bits only lose a little more.
LENIENT = lissom.Budget(drop="10pt")


@dataclass(frozen=True)
class Finished:
    """A search by `lissom.compress`, and what it was asked."""

    model: Path
    task: Task
    folder: Path
    result: Result

    def again(self, folder: Path, budget: lissom.Budget = LENIENT) -> Result:
        """The same search in a copy of the folder, where every step is finished."""
        shutil.copytree(self.folder, folder)
        return lissom.compress(
            self.model, self.task, budget=budget, objective="size", folder=folder,
            settings=BRIEF, techniques=STATIC,
        )  # fmt: skip


def labelled(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What the model itself says: labels on which the original is always right."""
    return np.argmax(ort.InferenceSession(path).run(None, feeds)[0], axis=1)


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Timing and weighing without processes: equal speed, true size. The files, as measured."""
    measured: list[str] = []

    def weigh(path: Path, feeds: object, **options: object) -> Footprint:
        measured.append(f"weigh {path.name}")
        return Footprint(bytes=path.stat().st_size, parameters=1, macs=None, peak_memory=None)

    def alone(path: Path, *rest: object) -> Latency:
        measured.append(f"time {path.name}")
        return measurement().latency  # type: ignore[return-value]

    def pair(original: Path, path: Path, *rest: object) -> Speed:
        measured.append(f"compare {path.name}")
        return measurement(speed=1.0).speed  # type: ignore[return-value]

    monkeypatch.setattr(evaluate, "footprint", weigh)
    monkeypatch.setattr(evaluate, "time_alone", alone)
    monkeypatch.setattr(evaluate, "compare_speed", pair)
    return measured


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    model = models.saved(models.depthwise(), folder / "depthwise.onnx")
    feeds = models.feeds(models.depthwise(), 128)
    task = Task(calibration=feeds, validation=(feeds, labelled(model, feeds)), metric="accuracy")
    out = folder / "out"
    result = lissom.compress(
        model, task, objective="size", folder=out, settings=BRIEF, techniques=STATIC,
        budget=LENIENT,
    )  # fmt: skip
    return Finished(model, task, out, result)
