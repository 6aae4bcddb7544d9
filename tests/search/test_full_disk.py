"""A disk that is full at any stage: the message names the folder, and what is finished stays."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lissom
from lissom import artifact as artifacts
from lissom import onnx_file
from lissom.artifact import MANIFEST, REPORT, RESULTS, sha256_of
from lissom.errors import FolderError
from lissom.measurement import process
from lissom.measurement.records import Settings
from lissom.measurement.whole import measure
from lissom.search.compress import Result
from tests import models

GOES_ON = "free some space; the same command then goes on from the finished steps"


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def compressed(folder: Path, out: Path) -> Result:
    model = folder / "mlp.onnx"
    if not model.exists():
        models.saved(models.mlp(), model)
    return lissom.compress(
        model, objective="size", folder=out,
        techniques=["quantize.float16"], settings=Settings(seconds=0.05, processes=1),
    )  # fmt: skip


def full_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """No file whose final name ends so can be written; all others can."""
    beside, text = onnx_file.write_beside, Path.write_text

    def refuse_beside(path: Path, data: bytes) -> None:
        full() if path.name.endswith(name) else beside(path, data)

    def refuse_text(path: Path, *rest: Any, **options: Any) -> int:
        if path.name.endswith(name):
            full()
        return text(path, *rest, **options)

    monkeypatch.setattr(onnx_file, "write_beside", refuse_beside)
    monkeypatch.setattr(artifacts, "write_beside", refuse_beside)
    monkeypatch.setattr(Path, "write_text", refuse_text)


@pytest.mark.parametrize(
    ("stage", "name"),
    [("a step's file", "model.onnx"), ("a measurement's record", "record")],
)
def test_while_building_or_measuring(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instant: list[str],
    stage: str,
    name: str,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as during:
        full_for(during, name)
        with pytest.raises(FolderError, match="No space left on device") as caught:
            compressed(tmp_path, out)
    assert caught.value.where == str(out / ".lissom")
    assert caught.value.fix == GOES_ON
    assert list((out / ".lissom").glob("unfinished-*")) == []
    assert not (out / MANIFEST).exists()
    kept = set((out / ".lissom" / "steps").iterdir())
    assert compressed(tmp_path, out).best is not None
    assert kept <= set((out / ".lissom" / "steps").iterdir())


@pytest.mark.parametrize("name", [RESULTS, REPORT, MANIFEST, "recipe.yaml", "copy"])
def test_while_saving_nothing_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: list[str], name: str
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as during:
        if name == "copy":
            during.setattr(artifacts.shutil, "copyfile", full)
        else:
            full_for(during, name)
        with pytest.raises(FolderError, match="No space left on device") as caught:
            compressed(tmp_path, out)
    assert "cannot be written" in caught.value.what
    assert caught.value.where == str(out)
    assert caught.value.fix == GOES_ON
    assert not (out / MANIFEST).exists(), "no artifact is better than half of one"
    measured = list(instant)
    result = compressed(tmp_path, out)
    assert instant == measured, "the rerun measured something again"
    assert result.best is not None
    assert sha256_of(out / "model.onnx") == sha256_of(result.best.path)


def test_of_temporary_files(mlp_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.np, "savez", full)
    with pytest.raises(FolderError, match="inputs of a timed run cannot be written: No sp") as told:
        measure(mlp_onnx, settings=Settings(seconds=0.05, processes=1))
    assert told.value.where == tempfile.gettempdir()
    assert "TMPDIR" in str(told.value.fix)
    assert np.savez is full  # the patch was the one that was hit
