"""`lissom.check`: an artifact that is not whole, or computes wrongly here, is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import lissom
from lissom.artifact import MANIFEST, read_manifest, sha256_of, write_manifest
from lissom.errors import FolderError, MissingExtra
from lissom.search import check as checking
from lissom.targets.onnxruntime import OpenFile, onnxruntime_target
from tests import models
from tests.search.conftest import Finished


@pytest.fixture
def artifact(finished: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.folder, tmp_path / "artifact"))


def put(folder: Path, content: bytes) -> None:
    """Another model, recorded as if it had been saved."""
    (folder / "model.onnx").write_bytes(content)
    manifest = read_manifest(folder)
    files = {**manifest.files, "model.onnx": sha256_of(folder / "model.onnx")}
    write_manifest(folder, manifest.model_copy(update={"files": files}))


def test_a_whole_artifact_passes(artifact: Path) -> None:
    found = lissom.check(artifact)
    assert found.passed, found.problems
    assert found.cpu == found.built_for == onnxruntime_target().cpu
    assert "sums are exact" in str(found)
    json.dumps(found.as_json())


@pytest.mark.parametrize("pair_sums", [False, True])
def test_weights_that_would_saturate_are_refused_where_they_do(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, pair_sums: bool
) -> None:
    target = dataclasses.replace(onnxruntime_target(), cpu="avx2", pair_sums=pair_sums)
    monkeypatch.setattr(checking, "find_target", lambda name: target)
    found = lissom.check(artifact)
    assert ("elsewhere: " in str(found)) == (found.passed and bool(found.saturating))
    if onnxruntime_target().pair_sums:
        assert found.passed  # it was built for such a machine
        return
    assert found.saturating
    assert found.passed == (not pair_sums)
    if pair_sums:
        (problem,) = found.problems
        assert "added wrongly" in problem
        assert "--cpu avx2" in problem


def test_a_file_of_another_user_is_a_problem_and_no_traceback(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checking, "sha256_of", denied)
    assert "model.onnx cannot be read: Permission denied" in lissom.check(artifact).problems


def test_changed_and_missing_files_are_named(artifact: Path) -> None:
    with (artifact / "model.onnx").open("ab") as file:
        file.write(b"x")
    (artifact / "recipe.yaml").unlink()
    found = lissom.check(artifact)
    assert not found.passed
    assert [problem.partition(";")[0] for problem in found.problems] == [
        "model.onnx is not the file that was saved: its digest differs",
        "recipe.yaml is missing",
    ]
    assert all("make the artifact again" in problem for problem in found.problems)


def test_a_file_the_runtime_refuses(artifact: Path) -> None:
    put(artifact, b"no model")
    found = lissom.check(artifact)
    assert not found.passed
    assert found.saturating == ()


def built_for(artifact: Path, *runtimes: str) -> None:
    manifest = read_manifest(artifact)
    write_manifest(artifact, manifest.model_copy(update={"runtimes": runtimes}))


def test_one_that_is_built_for_a_runtime_that_is_not_here(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise MissingExtra(f"the target {name} needs a package", fix="pip install it")

    built_for(artifact, "openvino")
    monkeypatch.setattr(checking, "find_target", absent)
    with pytest.raises(MissingExtra, match="the artifact was built for openvino") as told:
        lissom.check(artifact)
    assert told.value.fix == "pip install it; or check it in another runtime: --target onnxruntime"
    monkeypatch.undo()
    assert lissom.check(artifact, target="onnxruntime").passed


@pytest.mark.parametrize("runtimes", [("litert",), ()])
def test_one_that_is_built_for_a_runtime_that_nobody_knows(
    artifact: Path, runtimes: tuple[str, ...]
) -> None:
    built_for(artifact, *runtimes)
    with pytest.raises(FolderError, match="this lissom knows onnxruntime, openvino"):
        lissom.check(artifact)


def test_why_an_example_does_not_run_is_told(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(OpenFile, "__call__", no_memory)
    (problem,) = lissom.check(artifact).problems
    assert "not enough memory" in problem


def test_a_float_model_has_nothing_to_saturate(artifact: Path) -> None:
    put(artifact, models.mlp().SerializeToString())
    assert lissom.check(artifact).passed


def test_a_manifest_that_points_outside(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    files = {**manifest.files, "../other": "00"}
    write_manifest(artifact, manifest.model_copy(update={"files": files}))
    with pytest.raises(FolderError, match="outside of the folder"):
        lissom.check(artifact)
    for model in ("../other", "/etc/passwd", ".", ""):
        write_manifest(artifact, manifest.model_copy(update={"model": model}))
        with pytest.raises(FolderError, match="outside of the folder"):
            lissom.check(artifact)
    files = {"recipe.yaml": manifest.files["recipe.yaml"]}
    write_manifest(artifact, manifest.model_copy(update={"files": files}))
    assert "no digest of model.onnx" in lissom.check(artifact).problems[0]


def test_a_model_that_asks_for_more_than_there_is(artifact: Path) -> None:
    model = models.mlp()
    (n, width) = model.graph.input[0].type.tensor_type.shape.dim
    n.dim_value = 10**12
    put(artifact, model.SerializeToString())
    (problem,) = lissom.check(artifact).problems
    assert f"{10**12 * width.dim_value:,} values" in problem


def test_an_operator_that_nobody_knows(artifact: Path) -> None:
    model = models.mlp()
    model.graph.node[0].op_type = "Frobnicate"
    put(artifact, model.SerializeToString())
    (problem,) = lissom.check(artifact).problems
    assert "has no kernel for an operator of this model" in problem
    assert "Frobnicate" in problem


def test_an_artifact_of_another_format(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    write_manifest(artifact, manifest.model_copy(update={"format": 99}))
    with pytest.raises(FolderError, match="has format 99"):
        lissom.check(artifact)


def test_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no lissom artifact"):
        lissom.check(tmp_path)
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(FolderError, match="damaged"):
        lissom.check(tmp_path)
