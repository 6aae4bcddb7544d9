"""`lissom.compress`: what it returns, what it saves, what it never overwrites."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import yaml

import lissom
from lissom.artifact import read_manifest
from lissom.errors import FolderError, RequestError, TaskError
from lissom.model import open_model
from lissom.recipe.schema import Recipe
from lissom.report.results import Results
from lissom.search.folder import check_folder
from tests import models
from tests.search.conftest import BRIEF, LENIENT, STATIC, Finished

ARTIFACT = {"manifest.json", "model.onnx", "recipe.yaml", "report.html", "results.json", ".lissom"}


def test_the_folder_holds_a_whole_artifact(finished: Finished) -> None:
    assert set(os.listdir(finished.folder)) == ARTIFACT
    manifest = read_manifest(finished.folder)
    assert set(manifest.files) == {"model.onnx", "recipe.yaml"}
    for name, digest in manifest.files.items():
        assert hashlib.sha256((finished.folder / name).read_bytes()).hexdigest() == digest
    assert manifest.original["bytes"] == finished.model.stat().st_size
    assert manifest.name == finished.result.best.row.name  # type: ignore[union-attr]
    recipe = Recipe.model_validate(yaml.safe_load((finished.folder / "recipe.yaml").read_text()))
    assert recipe.model_dump(mode="json") == manifest.recipe
    assert recipe.name == manifest.name
    assert [step.technique for step in recipe.steps] == ["graph.optimize", "quantize.static"]
    results = Results.model_validate_json((finished.folder / "results.json").read_bytes())
    assert results == finished.result.results
    assert "depthwise became" in (finished.folder / "report.html").read_text()


def test_the_artifact_is_smaller_and_answers_alike(finished: Finished) -> None:
    small = finished.folder / "model.onnx"
    assert small.stat().st_size < 0.9 * finished.model.stat().st_size
    feeds = models.feeds(models.depthwise(), 32, seed=5)
    expected, got = (
        ort.InferenceSession(path).run(None, feeds)[0] for path in (finished.model, small)
    )
    assert np.linalg.norm(got - expected) < 0.1 * np.linalg.norm(expected)


def test_the_result_prints_as_the_table_and_lists_every_file(finished: Finished) -> None:
    result = finished.result
    shown = str(result)
    assert "original" in shown
    assert "int8 static, learned" in shown
    assert [a.row.name for a in result.artifacts] == [
        "int8 static",
        "int8 static, learned",
        "int8 static, 4-bit weights",
    ]
    for artifact in result.artifacts:
        assert artifact.path.stat().st_size == artifact.row.measurement.footprint.bytes
    assert len(repr(result)) < 500


def test_two_fresh_runs_give_the_same_model(finished: Finished, tmp_path: Path) -> None:
    lissom.compress(
        finished.model, finished.task, objective="size", folder=tmp_path / "o", settings=BRIEF,
        techniques=STATIC, budget=LENIENT,
    )  # fmt: skip
    assert (tmp_path / "o" / "model.onnx").read_bytes() == (
        finished.folder / "model.onnx"
    ).read_bytes()


def test_a_finished_run_is_not_measured_again(finished: Finished, tmp_path: Path) -> None:
    again = finished.again(tmp_path / "o")
    for name in ("original", "rows"):
        assert getattr(again.results, name) == getattr(finished.result.results, name)
    assert again.results.seconds < 2


def test_when_nothing_fits_nothing_stale_is_left(finished: Finished, tmp_path: Path) -> None:
    tight = lissom.Budget(size="5kB", drop="0pt")
    result = finished.again(tmp_path / "o", tight)
    assert result.best is None
    assert set(os.listdir(tmp_path / "o")) == {".lissom", "report.html", "results.json"}
    results = result.results
    assert all(re.match(r"size [0-9.]+ kB exceeds 5kB by", row.misses[0]) for row in results.rows)
    assert results.sentence.startswith("No candidate is inside the budget; depthwise stays")
    (needed,) = [note for note in results.notes if note.startswith("Nothing fits the budget")]
    found = re.search(r"Nearest is (.+): it needs size (\S+) instead of 5kB", needed)
    assert found is not None
    loosened = finished.again(tmp_path / "o2", lissom.Budget(size=found[2], drop="50pt"))
    assert loosened.best is not None


def test_and_then_a_budget_that_fits_saves_again(finished: Finished, tmp_path: Path) -> None:
    finished.again(tmp_path / "a", lissom.Budget(size="5kB"))
    (tmp_path / "a" / "model.onnx").write_bytes(b"left by a killed run")
    (tmp_path / "a" / ".model.onnx.999").write_bytes(b"half")
    result = lissom.compress(
        finished.model, finished.task, objective="size", folder=tmp_path / "a", settings=BRIEF,
        techniques=STATIC, budget=LENIENT,
    )  # fmt: skip
    assert result.best is not None
    assert set(os.listdir(tmp_path / "a")) == ARTIFACT
    digest = hashlib.sha256((tmp_path / "a" / "model.onnx").read_bytes()).hexdigest()
    assert read_manifest(tmp_path / "a").files["model.onnx"] == digest


def test_any_row_can_be_saved_anywhere(finished: Finished, tmp_path: Path) -> None:
    artifact = finished.result.artifacts[1]
    folder = artifact.save(tmp_path / "deploy" / "net")
    assert set(os.listdir(folder)) == ARTIFACT - {".lissom"}
    assert read_manifest(folder).name == "int8 static, learned"
    finished.result.artifacts[0].save(str(folder))
    assert read_manifest(folder).name == "int8 static"


def test_saving_never_overwrites_files_of_others(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"precious")
    with pytest.raises(FolderError, match=r"holds model\.onnx, not written by lissom"):
        finished.result.artifacts[0].save(tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == b"precious"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Dockerfile").write_text("x")
    finished.result.artifacts[0].save(tmp_path / "sub")
    assert (tmp_path / "sub" / "Dockerfile").read_text() == "x"


def test_without_a_folder_the_files_live_as_long_as_anyone_can_save_them(
    mlp_onnx: Path, tmp_path: Path
) -> None:
    best = lissom.compress(mlp_onnx, settings=BRIEF, techniques=["quantize.float16"]).best
    assert best is not None
    gc.collect()
    workspace = best.path
    assert workspace.is_file()
    best.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.onnx").stat().st_size < mlp_onnx.stat().st_size
    assert not (tmp_path / "saved" / ".lissom").exists()
    del best
    gc.collect()
    assert not workspace.exists()


def test_a_task_that_is_none_is_refused(mlp_onnx: Path) -> None:
    with pytest.raises(TaskError, match="the task is 'str'") as caught:
        lissom.compress(mlp_onnx, "arrays:x.npz")  # type: ignore[arg-type]
    assert "lissom.Task(" in str(caught.value.fix)


def test_one_technique_may_stand_without_a_list(mlp_onnx: Path) -> None:
    with pytest.raises(RequestError, match=r"unknown technique 'quantize\.dinamic'"):
        lissom.compress(mlp_onnx, techniques="quantize.dinamic")


def test_the_model_is_never_replaced_by_its_result(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".lissom").mkdir(parents=True)
    model = models.saved(models.mlp(), out / "model.onnx")
    before = model.read_bytes()
    with pytest.raises(FolderError, match=r"the model model\.onnx lies in the output folder"):
        lissom.compress(model, folder=out, settings=BRIEF)
    assert model.read_bytes() == before


def test_the_result_of_another_model_is_never_replaced(finished: Finished, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished.folder, tmp_path / "out"))
    before = (out / "model.onnx").read_bytes()
    other = models.saved(models.mlp(), tmp_path / "cls.onnx")
    with pytest.raises(FolderError, match=r"of another model, depthwise\.onnx, which") as caught:
        lissom.compress(other, folder=out, settings=BRIEF)
    assert caught.value.fix == "name another folder with -o, or remove this one first"
    with pytest.raises(FolderError, match="of another model"):
        lissom.run("int8", other, folder=out, settings=BRIEF)
    elsewhere = lissom.compress(
        other, folder=tmp_path / "o", settings=BRIEF, techniques=["quantize.dynamic"]
    )
    with pytest.raises(FolderError, match="of another model"):
        elsewhere.artifacts[0].save(out)
    assert (out / "model.onnx").read_bytes() == before
    shutil.copy(finished.model, tmp_path / "renamed.onnx")
    check_folder(out, open_model(tmp_path / "renamed.onnx"))  # the same model, done again


def test_a_model_trained_again_may_replace_its_old_result(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    manifest["original"]["file"] = "net.onnx"
    Path("out").mkdir()
    Path("out", "manifest.json").write_text(json.dumps(manifest))
    models.saved(models.mlp(), Path("net.onnx"))
    check_folder(Path("out"), open_model("net.onnx"))
    with pytest.raises(FolderError, match="of another model"):
        check_folder(Path("out"), open_model(tmp_path / "net.onnx"))


def test_folders_that_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check_folder(tmp_path / "new" / "deep")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")
    with pytest.raises(FolderError, match="not empty and was not made by lissom"):
        check_folder(tmp_path)
    with pytest.raises(FolderError, match="is a file, not a folder"):
        check_folder(tmp_path / "file")
    with pytest.raises(FolderError, match="a file is in the way"):
        check_folder(tmp_path / "file" / "out")
    with pytest.raises(FolderError, match="File name too long"):
        check_folder(tmp_path / ("x" * 300))


def test_a_mistake_in_the_data_is_told_before_anything_is_built(
    mlp_onnx: Path, tmp_path: Path
) -> None:
    task = lissom.Task(calibration={"inputs": np.zeros((8, 16), np.float32)})
    with pytest.raises(TaskError, match="'inputs' is not an input of the model"):
        lissom.compress(mlp_onnx, task, folder=tmp_path / "o", settings=BRIEF)
    assert list((tmp_path / "o" / ".lissom" / "steps").iterdir()) == []
    assert not (tmp_path / "o" / "results.json").exists()


def test_results_are_plain_json(finished: Finished) -> None:
    found = json.loads((finished.folder / "results.json").read_text())
    assert found["rows"][0]["measurement"]["quality"]["metric"] == "accuracy"
    assert found["schema_version"] == 1


def test_a_manifest_of_another_program_is_not_replaced(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    assert finished.result.best is not None
    with pytest.raises(FolderError, match=r"holds manifest\.json, not written by lissom"):
        finished.result.best.save(tmp_path)
    with pytest.raises(FolderError, match="was not made by lissom"):
        check_folder(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == '{"name": "a web page"}'


def test_a_folder_whose_finished_steps_were_deleted_is_still_ours(
    finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder, tmp_path / "o")
    shutil.rmtree(tmp_path / "o" / ".lissom")
    check_folder(tmp_path / "o")


def test_that_something_fits_without_a_gain_is_not_denied(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows inside the budget that are neither smaller nor faster, and one outside."""
    monkeypatch.setattr("lissom.search.choose._gains", lambda row, original: False)
    first = finished.result.results.rows[0].measurement
    monkeypatch.setattr(lissom.Budget, "misses", lambda _, row: ("size",) if row == first else ())
    results = finished.again(tmp_path / "o", lissom.Budget(size="5kB")).results
    assert results.chosen is None
    assert results.sentence.startswith("No candidate inside the budget is smaller or faster;")
    assert any(note.startswith("Nothing smaller or faster fits") for note in results.notes)
