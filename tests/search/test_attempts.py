"""Candidates under limits: what is tried first, what is left out and told, what is always done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lissom.errors import RequestError
from lissom.measurement.records import Speed
from lissom.model import open_model
from lissom.recipe.run import run
from lissom.recipe.store import Store
from lissom.report.results import Results, Skipped
from lissom.search import attempts, clock, evaluate, explore
from lissom.search.budget import Budget
from lissom.search.explore import search
from lissom.search.request import Request
from lissom.task import Task
from tests import models
from tests.search.rows import measurement

KEPT = ("graph.optimize", "quantize.float16", "quantize.static")
ORIGINAL, BUILD, LEARN, MEASURE = 4.0, 1.0, 6.0, 10.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Task]:
    path = models.saved(models.depthwise(), tmp_path / "depthwise.onnx")
    feeds = models.feeds(models.depthwise(), 32)
    return path, Task(calibration=feeds, validation=feeds, metric="cosine")


class Timed:
    """Seconds that only building and measuring let pass, and the candidates in their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.begun: list[str] = []

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, instant: list[str]) -> Timed:
    passed = Timed()

    def slowly(recipe: Any, source: Any, context: Any, store: Store) -> Any:
        steps = len(list(store.steps.iterdir()))
        passed.begun.append(recipe.name)
        built = run(recipe, source, context, store)
        if len(list(store.steps.iterdir())) > steps:
            passed.now += LEARN if "learned" in str(recipe.steps[-1]) else BUILD
        return built

    def alone(*rest: object) -> Any:
        passed.now += ORIGINAL
        return measurement().latency

    def pair(*rest: object) -> Speed:
        passed.now += MEASURE
        found = measurement(speed=2.0).speed
        assert found is not None
        return found

    for module in (clock, attempts, explore):
        monkeypatch.setattr(module, "monotonic", passed)
    monkeypatch.setattr(attempts, "run", slowly)
    monkeypatch.setattr(evaluate, "time_alone", alone)
    monkeypatch.setattr(evaluate, "compare_speed", pair)
    return passed


def found(given: tuple[Path, Task], store: Store, **request: Any) -> Results:
    path, task = given
    request = {"techniques": KEPT, **request}
    return search(open_model(path), task, Request(**request), store).results


def names(results: Results) -> list[str]:
    return [row.name for row in results.rows]


def skipped(results: Results, why: str) -> dict[str, Skipped]:
    return {each.name: each for each in results.skipped if why in each.why}


EVERY = [
    "float32, optimized", "float16 storage", "int8 static", "int8 static, learned",
    "int8 static, 4-bit weights",
]  # fmt: skip


def test_without_limits_all_is_tried_the_promising_and_cheap_first(
    images: tuple[Path, Task], store: Store, timed: Timed
) -> None:
    results = found(images, store)
    assert timed.begun[:2] == ["int8 static", "int8 static, learned"]
    # It is larger than the INT8 file, which is faster.
    assert timed.begun[-1] == "float32, optimized"
    assert names(results) == EVERY
    assert skipped(results, "not begun") == {}


def test_what_would_not_end_in_time_is_not_begun_and_told(
    images: tuple[Path, Task], store: Store, timed: Timed
) -> None:
    results = found(images, store, time="42s")
    # 4 s for the original, 11 for the first and 16 to learn one; 11 are left, and learning
    # another would take 16.
    assert timed.begun[0] == "int8 static"
    assert names(results)[-2:] == ["int8 static", "int8 static, learned"]
    assert "int8 static, 4-bit weights" in skipped(results, "not begun")
    late = skipped(results, "not begun: takes about")
    assert late
    assert set(late) | set(names(results)) == set(EVERY)
    assert timed.now <= 42
    for each in late.values():
        assert each.seconds is not None
        assert each.seconds > 10
        assert each.bytes is not None
        assert "of 42 s left" in each.why
    (note,) = [note for note in results.notes if note.startswith("In 42 s there was no time for")]
    assert "the same command may choose another file" in note
    assert results.chosen is not None


def test_one_candidate_is_measured_whatever_the_limit_and_it_is_said(
    images: tuple[Path, Task], store: Store, timed: Timed
) -> None:
    results = found(images, store, time=5)
    assert names(results) == ["int8 static"]
    assert (
        "5 s were too short for even one candidate: int8 static was measured all the same."
        in results.notes
    )
    assert len(skipped(results, "not begun")) == 4


def test_a_run_that_goes_on_counts_only_what_it_does_itself(
    images: tuple[Path, Task], store: Store, timed: Timed
) -> None:
    first = found(images, store, time=5)
    assert first.chosen is not None
    before = timed.now
    again = found(images, store, time=5)
    # The original and the first candidate are finished; measuring another takes 10 s, as it knows.
    assert timed.now == before
    assert names(again) == ["int8 static"]
    assert not any("too short" in note for note in again.notes)
    (late, *_) = skipped(again, "not begun").values()
    assert late.seconds is not None
    assert late.seconds > MEASURE
    assert names(found(images, store, time="10m")) == EVERY
    for each in skipped(found(images, store, time=5), "").values():
        assert "not begun" not in each.why


def test_progress_shows_what_is_left(images: tuple[Path, Task], store: Store, timed: Timed) -> None:
    seen: list[str] = []

    def track(items: Any, label: str, total: int | None = None) -> Any:
        for item in items:
            if label == "candidates":
                seen.append(item.name)
            yield item

    found(images, store, time="1m", track=track)
    assert seen[0] == "int8 static, 56 s of 1 min 00 s left"


def test_what_cannot_be_small_enough_is_not_built(
    images: tuple[Path, Task], store: Store, timed: Timed
) -> None:
    results = found(images, store, budget=Budget(size="9kB", drop="50pt"))
    large = skipped(results, "above the limit of 9kB")
    assert set(large) == {"float32, optimized"}
    assert not set(large) & set(timed.begun)
    assert all(each.bytes is not None and each.bytes > 9_000 for each in large.values())
    assert results.chosen is not None


def test_where_nothing_can_fit_the_smallest_is_measured_to_tell_what_is_needed(
    images: tuple[Path, Task], store: Store, timed: Timed
) -> None:
    results = found(images, store, budget=Budget(size="1kB", drop="50pt"))
    assert names(results) == ["int8 static, 4-bit weights"]
    assert len(skipped(results, "above the limit of 1kB")) == 4
    assert any("it needs size" in note for note in results.notes)


def test_a_measured_time_rules_out_files_of_the_same_kernels(
    images: tuple[Path, Task], store: Store, timed: Timed
) -> None:
    results = found(images, store, budget=Budget(latency="5ms"))
    assert set(skipped(results, "runs the kernels of int8 static, whose latency 10.0 ms")) == {
        "int8 static, learned", "int8 static, 4-bit weights",
    }  # fmt: skip
    assert "int8 static" in names(results)
    assert results.chosen is None


@pytest.mark.parametrize("time", ["ten", 0])
def test_a_wrong_limit_is_refused_before_any_work(time: str | float) -> None:
    with pytest.raises(RequestError, match="time"):
        Request(time=time)
