"""Measuring with the store: nothing twice, and anew when anything that counts has changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from lissom.measurement.records import Settings
from lissom.recipe.run import Built
from lissom.recipe.store import Store
from lissom.search.evaluate import Evaluation
from lissom.task import Task
from lissom.technique import silent
from tests import models
from tests.search.conftest import labelled

FEEDS = models.feeds(models.mlp(), 1)


@pytest.fixture
def original(mlp_onnx: Path) -> Built:
    return Built(mlp_onnx, "original")


@pytest.fixture
def worse(tmp_path: Path) -> Built:
    """The same network with half of its first layer's weights gone."""
    model = models.mlp()
    tensor = next(t for t in model.graph.initializer if t.name == "fc1.weight")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[:, ::2] = 0
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return Built(models.saved(model, tmp_path / "worse.onnx"), "worse")


@pytest.fixture
def evaluation(original: Built, tmp_path: Path) -> Evaluation:
    return Evaluation(
        original=original, feeds=FEEDS, task=None, settings=Settings(), machine="this", seed=0,
        store=Store(tmp_path / "store"), track=silent,
    )  # fmt: skip


def test_each_part_is_measured_once(
    evaluation: Evaluation, worse: Built, instant: list[str]
) -> None:
    first = evaluation.of_original(), evaluation.of(worse)
    assert instant == ["time mlp.onnx", "weigh mlp.onnx", "compare worse.onnx", "weigh worse.onnx"]
    resumed = dataclasses.replace(evaluation, store=Store(evaluation.store.folder))
    assert (resumed.of_original(), resumed.of(worse)) == first
    assert len(instant) == 4
    assert first[0].speed is None
    assert first[1].speed is not None
    assert first[1].latency == first[1].speed.candidate


@pytest.mark.parametrize(
    "change",
    [
        {"settings": Settings(threads=2)},
        {"settings": Settings(seconds=9.0)},
        {"machine": "another"},
        {"feeds": models.feeds(models.mlp(), 2)},
        {"feeds": models.feeds(models.mlp(), 1, seed=1)},
    ],
)
def test_another_setting_machine_or_input_is_another_measurement(
    evaluation: Evaluation, instant: list[str], change: dict[str, object]
) -> None:
    evaluation.of_original()
    dataclasses.replace(evaluation, **change).of_original()  # type: ignore[arg-type]
    assert instant == ["time mlp.onnx", "weigh mlp.onnx"] * 2


def test_quality_is_that_of_the_files_on_the_task(
    evaluation: Evaluation, original: Built, worse: Built, instant: list[str]
) -> None:
    feeds = models.feeds(models.mlp(), 200)
    labels = labelled(original.path, feeds)
    task = Task(validation=(feeds, labels), metric="accuracy")
    judged = dataclasses.replace(evaluation, task=task)
    quality = judged.of(worse).quality
    assert quality is not None
    share = float(np.mean(labelled(worse.path, feeds) == labels))
    assert 0.2 < share < 0.95
    assert quality.original.value == 1.0
    assert quality.value.value == pytest.approx(share)
    assert quality.drop.value == pytest.approx(1 - share)


def test_statistics_are_kept_and_belong_to_the_task(
    evaluation: Evaluation, original: Built, instant: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = models.feeds(models.mlp(), 50)
    one = dataclasses.replace(evaluation, task=Task(validation=feeds, metric="cosine"))
    found = one.of_original().quality
    assert found is not None
    assert found.value.value == pytest.approx(1.0)
    judgements: list[str] = []
    from lissom.search import evaluate

    real = evaluate.statistics_of

    def counted(path: Path, task: Task, **options: object) -> np.ndarray:
        judgements.append(task.description)
        return real(path, task, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "statistics_of", counted)
    assert one.of_original().quality == found
    assert judgements == []
    other = Task(validation=models.feeds(models.mlp(), 50, seed=1), metric="cosine")
    dataclasses.replace(evaluation, task=other).of_original()
    dataclasses.replace(evaluation, task=Task(validation=feeds, metric="mse")).of_original()
    assert len(judgements) == 2
