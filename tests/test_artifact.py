"""An artifact's folder: files whole or not there, digests right, nothing of others touched."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lissom import artifact
from lissom.artifact import Manifest, copy_into, read_manifest, remove_artifact, write_manifest
from lissom.errors import FolderError

MANIFEST = Manifest(
    lissom="1.2.3",
    name="int8",
    model="model.onnx",
    files={"model.onnx": "ab"},
    original={"name": "net", "digest": "cd", "bytes": 3},
    recipe={"name": "int8", "steps": []},
    target="onnxruntime 1",
    cpu="avx2",
    pair_sums=True,
    machine={"cpu": "x"},
    measurement={},
)


def test_the_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST


def test_files_are_copied_with_their_digests(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(content)
    found = copy_into(tmp_path / "new" / "out", {"model.onnx": tmp_path / "a"})
    assert (tmp_path / "new" / "out" / "model.onnx").read_bytes() == content
    assert found == {"model.onnx": hashlib.sha256(content).hexdigest()}
    assert os.listdir(tmp_path / "new" / "out") == ["model.onnx"]


def test_a_full_disk_leaves_the_old_file_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.onnx").write_bytes(b"old")
    (tmp_path / "a").write_bytes(b"new and longer")

    def half(source: Any, target: Any) -> None:
        Path(target).write_bytes(b"new")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(FolderError, match="No space left") as caught:
        copy_into(out, {"model.onnx": tmp_path / "a"})
    assert "model.onnx" in caught.value.what
    assert "free some space" in str(caught.value.fix)
    assert (out / "model.onnx").read_bytes() == b"old"
    assert os.listdir(out) == ["model.onnx"]


def test_writing_under_a_file_is_a_folder_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(FolderError, match="Not a directory"):
        copy_into(tmp_path / "file" / "out", {"model.onnx": tmp_path / "file"})
    with pytest.raises(FolderError, match="cannot be written"):
        write_manifest(tmp_path / "file", MANIFEST)


def test_removing_takes_what_is_ours_and_half_written_and_leaves_the_rest(tmp_path: Path) -> None:
    ours = ["manifest.json", "model.onnx", "model.onnx.data", "recipe.yaml", "tokenizer.json"]
    half = [".model.onnx.123", ".report.html.9", ".model.onnx.data.77"]
    theirs = ["report.html", "README.md", "model.onnx.backup", ".env.1", "notes.txt.part"]
    for name in ours + half + theirs:
        (tmp_path / name).write_text("x")
    remove_artifact(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(theirs)


def test_removing_keeps_what_will_be_replaced_at_once(tmp_path: Path) -> None:
    for name in ("manifest.json", "model.onnx", "model.onnx.data"):
        (tmp_path / name).write_text("x")
    remove_artifact(tmp_path, keep=["model.onnx"])
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_removing_from_a_folder_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    remove_artifact(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_without_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no lissom artifact"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"format": 1}', b"[]", b"null"])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / artifact.MANIFEST).write_bytes(content)
    with pytest.raises(FolderError, match="manifest is damaged") as caught:
        read_manifest(tmp_path)
    assert caught.value.where == str(tmp_path / "manifest.json")
