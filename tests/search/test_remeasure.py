"""`lissom.check` that measures again: originals and data found, missing, or not the recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lissom
from lissom.artifact import read_manifest, write_manifest
from lissom.errors import FolderError, RequestError
from lissom.measurement import whole
from lissom.measurement.records import Footprint, Latency, Speed
from lissom.task import Task
from tests import models
from tests.search.conftest import LENIENT, Finished, labelled
from tests.search.rows import measurement


@pytest.fixture
def artifact(finished: Finished, tmp_path: Path) -> Path:
    """A copy beside a copy of its original, as a repository might hold them."""
    shutil.copy(finished.model, tmp_path)
    skip = shutil.ignore_patterns(".lissom")
    return Path(shutil.copytree(finished.folder, tmp_path / "artifact", ignore=skip))


@pytest.fixture(autouse=True)
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Timing and weighing without processes; what was timed, by name."""
    names: list[str] = []

    def weigh(path: Path, feeds: object, **options: object) -> Footprint:
        return Footprint(bytes=path.stat().st_size, parameters=1, macs=None, peak_memory=10**6)

    def alone(path: Path, *rest: object) -> Latency:
        names.append(path.name)
        return measurement(p50=10.0).latency  # type: ignore[return-value]

    def pair(original: Path, path: Path, *rest: object) -> Speed:
        names.append(f"{path.name} against {original.name}")
        return measurement(p50=10.0, speed=2.0).speed  # type: ignore[return-value]

    monkeypatch.setattr(whole, "footprint", weigh)
    monkeypatch.setattr(whole, "time_alone", alone)
    monkeypatch.setattr(whole, "compare_speed", pair)
    return names


def edited(folder: Path, **fields: object) -> Path:
    write_manifest(folder, read_manifest(folder).model_copy(update=fields))
    return folder


def test_the_manifest_records_what_was_promised(finished: Finished) -> None:
    manifest = read_manifest(finished.folder)
    assert manifest.budget == {"drop": LENIENT.drop}
    assert manifest.settings["processes"] == 1
    assert manifest.task == finished.task.description
    assert manifest.original["file"] == "depthwise.onnx"  # no path of this machine


def test_nothing_is_measured_unasked(artifact: Path, timed: list[str]) -> None:
    found = lissom.check(artifact)
    assert (found.measurement, found.promises, timed) == (None, (), [])


def test_the_original_beside_it_is_found_and_the_drop_judged(
    finished: Finished, artifact: Path, timed: list[str]
) -> None:
    found = lissom.check(artifact, task=finished.task)
    assert timed == ["model.onnx against depthwise.onnx"]
    (drop,) = found.promises
    assert (drop.name, drop.promised, drop.holds) == ("drop", "10pt", True)
    assert "on 128 samples" in drop.found
    assert found.passed
    assert "speed next to the original: 2.0x [1.98, 2.02], faster" in str(found)


def test_a_broken_promise_fails(finished: Finished, artifact: Path) -> None:
    found = lissom.check(artifact, budget=lissom.Budget(size="1kB"), task=finished.task)
    assert not found.passed
    assert found.problems == ()
    assert [(each.name, each.holds) for each in found.promises] == [("size", False), ("drop", True)]


def test_data_recorded_in_words_cannot_be_opened(artifact: Path) -> None:
    found = lissom.check(artifact, measure=True)
    (drop,) = found.promises
    assert drop.holds is None
    assert "recorded in words only" in drop.why and "give --task" in drop.why
    assert found.passed


def test_without_the_original_size_and_latency_remain(artifact: Path, timed: list[str]) -> None:
    (artifact.parent / "depthwise.onnx").unlink()
    edited(artifact, budget={"size": "1MB", "latency": "20ms", "drop": "1pt"})
    found = lissom.check(artifact, measure=True)
    assert timed == ["model.onnx"]
    assert {each.name: each.holds for each in found.promises} == {
        "size": True, "latency": True, "drop": None
    }  # fmt: skip
    assert any("depthwise.onnx, is not at hand; give --against" in note for note in found.notes)


def test_another_file_of_the_same_name_is_not_the_original(artifact: Path) -> None:
    models.saved(models.depthwise(seed=5), artifact.parent / "depthwise.onnx")
    assert lissom.check(artifact, measure=True).measurement.speed is None  # type: ignore[union-attr]
    found = lissom.check(artifact, against=artifact.parent / "depthwise.onnx")
    assert found.measurement.speed is not None  # type: ignore[union-attr]
    assert any("not, byte for byte, the original" in note for note in found.notes)


def test_times_of_another_machine_are_no_promise(artifact: Path) -> None:
    machine = {**read_manifest(artifact).machine, "cpu": "Another 9000"}
    edited(artifact, budget={"latency": "1ms"}, machine=machine)
    (latency,) = lissom.check(artifact, measure=True).promises
    assert latency.holds is None
    assert "recorded on another machine, Another 9000" in latency.why
    found = lissom.check(artifact, budget=lissom.Budget(latency="1ms"))
    assert not found.passed


def test_more_threads_than_cores_are_not_asked_for(artifact: Path) -> None:
    edited(artifact, settings={**read_manifest(artifact).settings, "threads": 4096})
    found = lissom.check(artifact, measure=True)
    assert any("and not with 4096" in note for note in found.notes)


def test_a_drop_that_cannot_be_judged_is_a_wrong_request(
    finished: Finished, artifact: Path
) -> None:
    with pytest.raises(RequestError, match="recorded in words only") as caught:
        lissom.check(artifact, budget=lissom.Budget(drop="1pt"))
    assert "--task TASK" in (caught.value.fix or "")
    (artifact.parent / "depthwise.onnx").unlink()
    with pytest.raises(RequestError, match="is not at hand"):
        lissom.check(artifact, task=finished.task)


def test_a_better_half_of_the_data_proves_nothing_of_the_whole(
    finished: Finished, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = models.feeds(models.depthwise(), 64)
    other = Task(validation=(feeds, labelled(finished.model, feeds)), metric="accuracy")
    edited(artifact, task="arrays:data.npz")
    monkeypatch.setattr("lissom.search.remeasure.open_task", lambda *spec, **rest: other)
    found = lissom.check(artifact, measure=True)
    (drop,) = found.promises
    assert drop.holds is None
    assert "holds other data here than were recorded" in drop.why


def test_more_samples_than_were_judged_may_be_the_same_data(
    finished: Finished, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As --effort quick leaves it: judged on some of them, at random.
    manifest = read_manifest(artifact)
    quality = {**manifest.measurement["quality"], "samples": 100}
    quality["original"] = {"value": 0.98, "low": 0.95, "high": 1.0}
    some = {**manifest.measurement, "quality": quality}
    edited(artifact, task="arrays:data.npz", measurement=some)
    monkeypatch.setattr("lissom.search.remeasure.open_task", lambda *spec, **rest: finished.task)
    (drop,) = lissom.check(artifact, measure=True).promises
    assert drop.holds is True and "on 128 samples" in drop.found
    quality["original"] = {"value": 0.7, "low": 0.6, "high": 0.8}
    edited(artifact, measurement=some)
    (drop,) = lissom.check(artifact, measure=True).promises
    assert drop.holds is None and "other data" in drop.why


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"settings": {"batch": 0}}, "settings: batch is 0"),
        ({"settings": {"processes": 0}}, "settings: processes is 0"),
        ({"measurement": {"quality": 3}}, "quality: "),
        ({"measurement": {"quality": {"metric": "accuracy"}}}, "quality: "),
        ({"budget": {"size": "much"}}, "cannot read the size 'much'"),
    ],
)
def test_what_a_manifest_cannot_say_is_told_before_anything_is_timed(
    artifact: Path, timed: list[str], fields: dict[str, object], words: str
) -> None:
    with pytest.raises(FolderError, match=f"the manifest is damaged: {words}"):
        lissom.check(edited(artifact, **fields), measure=True)
    assert timed == []


def test_a_damaged_artifact_is_not_measured(artifact: Path, timed: list[str]) -> None:
    (artifact / "model.onnx").write_bytes(b"another")
    found = lissom.check(artifact, measure=True)
    assert not found.passed
    assert (found.promises, timed) == ((), [])
