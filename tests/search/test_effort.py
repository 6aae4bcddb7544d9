"""What a quick search leaves out, what it says of it, and what it never leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lissom
from lissom.errors import RequestError
from lissom.measurement.records import Settings
from lissom.model import open_model
from lissom.recipe.store import Store
from lissom.search.budget import Budget
from lissom.search.candidates import propose
from lissom.search.effort import EFFORTS, NORMAL, QUICK, find_effort
from lissom.search.explore import search
from lissom.search.ready import Found
from lissom.search.request import Request
from lissom.task import Task
from tests import models
from tests.search.conftest import labelled
from tests.search.test_candidates import DENSE, ENCODER, IMAGES

WHY = "left out by --effort quick"


def names(weights: Any, *, task: bool = True, only: tuple[str, ...] = ()) -> list[str]:
    recipes, _ = propose(weights, calibrated=task, judged=task, only=only, effort=QUICK)
    return [recipe.name for recipe in recipes]


def test_quick_builds_what_usually_wins() -> None:
    assert names(ENCODER) == [
        "int8 dynamic", "int8 dynamic, 4-bit embeddings", "int8 static", "4-bit weights",
    ]  # fmt: skip
    assert names(IMAGES) == ["int8 static", "int8 static, learned"]
    assert names(DENSE, task=False) == ["int8 dynamic"]


def test_what_quick_leaves_out_is_skipped_with_the_reason_and_nothing_is_lost() -> None:
    recipes, skipped = propose(ENCODER, calibrated=True, judged=True, effort=QUICK)
    every, before = propose(ENCODER, calibrated=True, judged=True, effort=NORMAL)
    assert [each.name for each in skipped if each.why == WHY] == [
        "float32, optimized", "float16 storage", "int8 static, 4-bit weights", "8-bit weights",
        "2-bit weights",
    ]  # fmt: skip
    assert len(recipes) + len(skipped) == len(every) + len(before)


def test_the_names_quick_keeps_are_names_of_candidates() -> None:
    every = {
        each.name
        for weights in (ENCODER, IMAGES)
        for found in propose(weights, calibrated=True, judged=True)
        for each in found
    }
    assert QUICK.recipes is not None
    assert QUICK.recipes < every


def test_where_nothing_that_usually_wins_applies_all_is_tried() -> None:
    # Convolutions without calibration data: only storage formats are left.
    assert names(IMAGES, task=False) == ["float32, optimized", "float16 storage"]


def test_techniques_that_are_named_are_all_tried() -> None:
    assert names(ENCODER, only=("quantize.float16",)) == ["float16 storage"]
    assert "2-bit weights" in names(ENCODER, only=("quantize.weight_only",))


def test_an_unknown_effort_offers_the_nearest() -> None:
    for ask in (find_effort, lambda name: Request(effort=name)):
        with pytest.raises(RequestError, match="unknown effort 'quik'") as caught:
            ask("quik")
        assert "did you mean 'quick'?" in str(caught.value.fix)


def test_quick_times_for_a_quarter_of_the_time() -> None:
    assert [EFFORTS[name].settings().seconds for name in ("quick", "normal")] == [0.5, 2.0]
    assert QUICK.settings().processes == 3


def quickly(path: Path, folder: Path, task: Task | None, **request: Any) -> Found:
    request = {"effort": "quick", **request}
    return search(open_model(path), task, Request(**request), Store(folder / "store"))


def judged_on(found: Found) -> set[int]:
    rows = (found.results.original, *found.results.rows)
    return {row.measurement.quality.samples for row in rows if row.measurement.quality}


@pytest.fixture
def many(mlp_onnx: Path) -> Task:
    """1,200 labelled samples on which the original is right."""
    feeds = models.feeds(models.mlp(), 1200)
    return Task(
        calibration=models.feeds(models.mlp(), 8), validation=(feeds, labelled(mlp_onnx, feeds))
    )


def test_many_samples_are_judged_in_part_and_the_note_says_so(
    mlp_onnx: Path, tmp_path: Path, instant: list[str], many: Task
) -> None:
    found = quickly(mlp_onnx, tmp_path, many, techniques=["quantize.dynamic"])
    assert judged_on(found) == {500}
    assert (
        "Judged on 500 of the 1,200 validation samples, drawn at random (--effort quick); the "
        "intervals are those of 500 samples." in found.results.notes
    )
    normal = quickly(mlp_onnx, tmp_path, many, effort="normal", techniques=["quantize.dynamic"])
    assert judged_on(normal) == {1200}
    assert not any("drawn at random" in note for note in normal.results.notes)


def test_the_interval_of_a_subset_is_wider_and_holds_what_all_samples_say(
    mlp_onnx: Path, tmp_path: Path, instant: list[str], many: Task
) -> None:
    drops = []
    for effort in ("quick", "normal"):
        found = quickly(
            mlp_onnx, tmp_path, many, effort=effort, techniques=["quantize.weight_only"],
            budget=Budget(drop="50pt"),
        )  # fmt: skip
        row = next(row for row in found.results.rows if row.name == "2-bit weights")
        assert row.measurement.quality is not None
        drops.append(row.measurement.quality.drop)
    quick, whole = drops
    assert whole.value > 0.01
    assert 1.2 < (quick.high - quick.low) / (whole.high - whole.low) < 2.0  # sqrt(1200 / 500)
    assert quick.low < whole.value < quick.high


def test_few_samples_are_all_judged_without_a_note(
    mlp_onnx: Path, tmp_path: Path, instant: list[str]
) -> None:
    feeds = models.feeds(models.mlp(), 64)
    found = quickly(mlp_onnx, tmp_path, Task(validation=(feeds, labelled(mlp_onnx, feeds))))
    assert judged_on(found) == {64}
    assert not any("drawn at random" in note for note in found.results.notes)


def test_when_nothing_fits_what_was_not_tried_is_named(
    mlp_onnx: Path, tmp_path: Path, instant: list[str]
) -> None:
    told = (
        "Not tried with --effort quick, and perhaps inside the budget: float32, optimized, "
        "float16 storage, 8-bit weights."
    )
    quick = quickly(mlp_onnx, tmp_path, None, budget=Budget(latency="0.001us"))
    assert quick.results.chosen is None
    assert told in quick.results.notes
    # The weights are 5.4 kB: in 8 bits they may be inside, in 16 they cannot.
    small = quickly(mlp_onnx, tmp_path, None, budget=Budget(size="2kB"))
    assert told.replace("float32, optimized, float16 storage, ", "") in small.results.notes
    assert told not in quickly(mlp_onnx, tmp_path, None).results.notes


def test_a_normal_search_goes_on_from_a_quick_one_and_ends_as_without_it(
    mlp_onnx: Path, tmp_path: Path, instant: list[str]
) -> None:
    task = Task(calibration=models.feeds(models.mlp(), 32))
    once = quickly(mlp_onnx, tmp_path / "once", task, effort="normal")
    first = quickly(mlp_onnx, tmp_path / "twice", task)
    then = quickly(mlp_onnx, tmp_path / "twice", task, effort="normal")
    assert {name: built.key for name, built in then.files.items()} == {
        name: built.key for name, built in once.files.items()
    }
    for name, built in first.files.items():
        assert built.path == then.files[name].path
        assert built.path.read_bytes() == once.files[name].path.read_bytes()


def test_from_python(mlp_onnx: Path, instant: list[str]) -> None:
    results = lissom.compress(mlp_onnx, effort="quick").results
    assert [row.name for row in results.rows] == ["int8 dynamic"]
    assert results.settings == Settings(seconds=0.5, processes=3)
    longer = lissom.compress(mlp_onnx, effort="quick", settings=Settings(seconds=9.0)).results
    assert longer.settings.seconds == 9.0
    with pytest.raises(RequestError, match="unknown effort"):
        lissom.compress(mlp_onnx, effort="hasty")
