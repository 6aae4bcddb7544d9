"""`lissom pack` and `lissom unpack`: what a user types, sees and finds on the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from lissom.storage.archive import Archive
from tests import models
from tests.cli.conftest import COMMAND, Lissom, sha256


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lissom: Lissom) -> Path:
    """A folder with model.onnx and model.lsm, packed from it; it is the current one."""
    models.saved(models.mlp(hidden=256), tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    said = lissom("pack", "model.onnx")
    assert said.code == 0, said.err
    assert said.out.startswith("packed: model.lsm\n")
    assert "in 1 file, " in said.out and "smaller" in said.out
    return tmp_path


def test_pack_and_unpack_give_back_the_file(packed: Path, lissom: Lissom) -> None:
    before = sha256(packed / "model.onnx")
    said = lissom("unpack", "model.lsm", "-o", "again.onnx")
    assert said.code == 0, said.err
    assert said.out.startswith("unpacked: again.onnx\n")
    assert sha256(packed / "again.onnx") == before
    said = lissom("unpack", "model.lsm")
    assert said.code == 2 and "something already" in said.err
    (packed / "model.onnx").unlink()
    assert lissom("unpack", "model.lsm").code == 0
    assert sha256(packed / "model.onnx") == before


def test_the_list_has_every_tensor_and_the_files_checksum(packed: Path, lissom: Lissom) -> None:
    said = lissom("unpack", "model.lsm", "--list")
    assert said.code == 0, said.err
    assert f"sha256 {sha256(packed / 'model.onnx')}" in said.out
    for weight in models.mlp(hidden=256).graph.initializer:
        shape = "x".join(map(str, weight.dims))
        (line,) = [x for x in said.out.splitlines() if x.endswith(f"  {weight.name}")]
        assert shape in line
    assert sorted(os.listdir(packed)) == ["model.lsm", "model.onnx"]


def test_one_tensor_is_written_as_an_array_or_as_bytes(packed: Path, lissom: Lissom) -> None:
    weight = max(models.mlp(hidden=256).graph.initializer, key=lambda w: len(w.raw_data))
    said = lissom("unpack", "model.lsm", "--tensor", weight.name, "-o", "w.npy")
    assert said.code == 0, said.err
    np.testing.assert_array_equal(np.load(packed / "w.npy"), numpy_helper.to_array(weight))
    said = lissom("unpack", "model.lsm", "--tensor", weight.name, "-o", "w.bin", "--json")
    assert (packed / "w.bin").read_bytes() == weight.raw_data
    (entry,) = json.loads(said.out)["tensors"]
    assert entry["name"] == weight.name and entry["bytes"] == len(weight.raw_data)
    assert 0 < entry["stored"] <= len(weight.raw_data)
    said = lissom("unpack", "model.lsm", "--tensor", weight.name[:-1] + "?")
    assert said.code == 2 and f"did you mean {weight.name!r}" in said.err


def test_more_than_the_limit_is_refused(packed: Path, lissom: Lissom) -> None:
    said = lissom("unpack", "model.lsm", "-o", "x", "--limit", "1kB")
    assert said.code == 2
    assert "the limit is 1,000" in said.err
    size = (packed / "model.onnx").stat().st_size
    assert f"--limit {size}" in said.err
    assert lissom("unpack", "model.lsm", "-o", "x", "--limit", f"{size}B").code == 0
    said = lissom("unpack", "model.lsm", "--limit", "many")
    assert said.code == 2 and "cannot read the size" in said.err


def test_a_damaged_archive_is_an_error_that_names_the_tensor(packed: Path, lissom: Lissom) -> None:
    weight = max(models.mlp(hidden=256).graph.initializer, key=lambda w: len(w.raw_data))
    with Archive(packed / "model.lsm") as opened:
        tensor = opened.manifest.tensor(weight.name)
        (where,) = opened.manifest.slices(tensor.file, tensor.offset, tensor.length)
        at = opened._starts[where.blob + 1] - 9
    data = bytearray((packed / "model.lsm").read_bytes())
    data[at] ^= 1
    (packed / "model.lsm").write_bytes(data)
    said = lissom("unpack", "model.lsm", "-o", "out.onnx")
    assert said.code == 2
    assert weight.name in said.err and "Traceback" not in said.err
    assert sorted(os.listdir(packed)) == ["model.lsm", "model.onnx"]


def test_an_archive_may_come_from_a_pipe(packed: Path) -> None:
    with (packed / "model.lsm").open("rb") as file:
        data = file.read()
    done = subprocess.run(
        [*COMMAND, "unpack", "-", "-o", "piped.onnx"], input=data, capture_output=True, cwd=packed,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sha256(packed / "piped.onnx") == sha256(packed / "model.onnx")


def test_a_folder_and_json(packed: Path, lissom: Lissom) -> None:
    folder = packed / "out"
    folder.mkdir()
    (packed / "model.onnx").rename(folder / "model.onnx")
    (folder / "tokenizer.json").write_text("{}")
    said = lissom("pack", "out", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["archive"] == "out.lsm"
    assert told["files"] == 2
    assert told["bytes"] == (packed / "out.lsm").stat().st_size
    said = lissom("unpack", "out.lsm", "-o", "again", "--json")
    told = json.loads(said.out)
    assert {f["name"]: f["sha256"] for f in told["files"]} == {
        name: sha256(packed / "again" / name) for name in ("model.onnx", "tokenizer.json")
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pack", "nowhere"], "no such file or folder"),
        (["pack", "model.onnx", "-o", "model.onnx"], "no archive that could be replaced"),
        (["unpack", "nowhere.lsm"], "cannot be read"),
        (["inspect", "model.lsm"], "unpack it first: lissom unpack model.lsm"),
        (["unpack", "model.onnx"], "no lissom archive"),
        (["unpack", "model.lsm", "--list", "--tensor", "x"], "exclude each other"),
    ],
)
def test_wrong_requests(packed: Path, lissom: Lissom, arguments: list[str], told: str) -> None:
    said = lissom(*arguments)
    assert said.code == 2
    assert told in said.err
    assert sorted(os.listdir(packed)) == ["model.lsm", "model.onnx"]
