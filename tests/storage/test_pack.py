"""Pack, then unpack: the same bytes of every file, whatever the files; and nothing half done."""

from __future__ import annotations

import filecmp
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import lissom
from lissom.errors import FolderError, LissomError, ModelError, RequestError
from lissom.storage import layout, second_reader
from lissom.storage import pack as packing
from lissom.storage.archive import Archive
from lissom.storage.containers.survey import survey
from lissom.storage.pack import pack
from lissom.storage.unpack import unpack
from tests import models
from tests.storage import archives

SOURCES = str(Path(lissom.__file__).parents[1])


def round_trip(model: Path, folder: Path) -> Path:
    """Pack and unpack; the same bytes by both readers. Where they were unpacked."""
    packed = pack(model, folder / "packed.lsm")
    unpacked = unpack(packed.path, folder / "unpacked").path
    expected = {m.name: m.path.read_bytes() for m in survey(model).members}
    found = second_reader.read_archive(packed.path.read_bytes())
    assert found.files == expected
    if unpacked.is_file():
        assert [unpacked.read_bytes()] == list(expected.values())
    else:
        files = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
        assert files == set(expected)
        assert all((unpacked / n).read_bytes() == data for n, data in expected.items())
    return unpacked


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """An ONNX file with its weights in a file beside it, and one file that is none of its own."""
    folder = tmp_path / "external"
    folder.mkdir()
    onnx.save(
        models.mlp(hidden=256), folder / "model.onnx", save_as_external_data=True,
        location="model.onnx.data", size_threshold=256,
    )  # fmt: skip
    (folder / "notes.txt").write_text("not the model's")
    return folder / "model.onnx"


def shards(folder: Path) -> Path:
    """A folder of safetensors, where the last layer is tied to the first, across two files."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(50, 64)).astype(np.float16)
    first = {"embedding": embedding, "w": rng.integers(-7, 8, (32, 64)).astype(np.int8)}
    second = {"head": embedding, "w": rng.integers(-7, 8, (32, 64)).astype(np.int8)}
    safetensors.numpy.save_file(first, folder / "m-1.safetensors", metadata={"format": "pt"})
    safetensors.numpy.save_file(second, folder / "m-2.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    (folder / "empty").write_bytes(b"")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "tokenizer.json").write_text('{"a": 1}')
    return folder


@pytest.mark.parametrize("name", ["mlp", "depthwise", "two_input", "encoder"])
def test_an_onnx_file_comes_back(name: str, tmp_path: Path) -> None:
    path = models.saved(getattr(models, name)(), tmp_path / "model.onnx")
    round_trip(path, tmp_path)


def test_an_onnx_file_takes_its_external_data_along(external: Path, tmp_path: Path) -> None:
    folder = round_trip(external, tmp_path)
    assert sorted(os.listdir(folder)) == ["model.onnx", "model.onnx.data"]
    with Archive(tmp_path / "packed.lsm") as opened:
        kinds = {file.name: file.container for file in opened.manifest.files}
        named = [t for t in opened.manifest.tensors if t.file == 1]
    assert kinds == {"model.onnx": "onnx", "model.onnx.data": "data"}
    assert any(tensor.length >= 256 for tensor in named)


def test_external_data_that_are_not_there_or_lead_elsewhere_are_told(tmp_path: Path) -> None:
    model = models.mlp()
    for tensor, place in zip(model.graph.initializer, ("../../etc/passwd", "gone"), strict=False):
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
    path = models.saved(model, tmp_path / "model.onnx")
    packed = pack(path, tmp_path / "a.lsm")
    assert packed.files == 1
    assert any("outside its folder" in note for note in packed.notes)
    assert any("gone are not there" in note for note in packed.notes)


def test_a_folder_comes_back_and_what_is_tied_is_stored_once(tmp_path: Path) -> None:
    folder = shards(tmp_path / "model")
    round_trip(folder, tmp_path)
    packed = pack(folder, tmp_path / "again.lsm")
    assert packed.repeated == 50 * 64 * 2
    with Archive(packed.path) as opened:
        where = [
            next(iter(opened.manifest.slices(t.file, t.offset, t.length))).blob
            for t in opened.manifest.tensors
            if t.name in ("embedding", "head")
        ]
    assert where[0] == where[1]


def test_a_gguf_file_comes_back(tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, 64 * 18, dtype=np.uint8).tobytes()
    path = archives.write(tmp_path / "m.gguf", archives.gguf([("t", (64, 32), 2, blocks)]))
    round_trip(path, tmp_path)
    with Archive(tmp_path / "packed.lsm") as opened:
        assert opened.tensor(opened.manifest.tensor("t")) == blocks


@given(
    st.binary(max_size=2000),
    st.sampled_from([".onnx", ".safetensors", ".gguf", ".bin", ""]),
    st.sampled_from([b"", b"GGUF\3\0\0\0", b"\x10\0\0\0\0\0\0\0", b"\x08\x08\x3a"]),
)
@settings(max_examples=30)
def test_any_bytes_under_any_name_come_back(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, head: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    round_trip(archives.write(folder / f"m{suffix}", head + data), folder)
    shutil.rmtree(folder)


def test_a_damaged_model_is_packed_as_bytes_and_told(tmp_path: Path) -> None:
    data = models.mlp().SerializeToString()
    path = archives.write(tmp_path / "model.onnx", data[: len(data) // 2])
    assert "plain bytes" in pack(path, tmp_path / "a.lsm").notes[0]
    round_trip(path, tmp_path)


def test_a_large_tensor_is_cut_into_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LARGEST_BLOB", 10_000)
    array = np.random.default_rng(0).normal(size=(40, 300)).astype(np.float32)
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"w": array, "flat": array.reshape(-1)}, path)
    (member,) = survey(path).members
    pieces = [piece for piece in layout.cut(member) if piece.dtype == "F32"]
    assert [piece.shape for piece in pieces if len(piece.shape) == 2] == [(8, 300)] * 5
    assert all(piece.size <= 10_000 for piece in pieces)
    round_trip(path, tmp_path)
    with Archive(tmp_path / "packed.lsm") as opened:
        assert opened.tensor(opened.manifest.tensor("w")) == array.tobytes()


def test_the_same_files_give_the_same_archive_whatever_the_threads(tmp_path: Path) -> None:
    folder = shards(tmp_path / "model")
    one = pack(folder, tmp_path / "1.lsm", threads=1).path.read_bytes()
    time.sleep(0.01)
    (folder / "empty").touch()
    (folder / "empty").chmod(0o600)
    assert pack(folder, tmp_path / "2.lsm", threads=4).path.read_bytes() == one


def test_links_to_files_are_packed_as_files(tmp_path: Path) -> None:
    folder = shards(tmp_path / "model")
    (tmp_path / "blob").write_bytes(b"weights" * 100)
    (folder / "linked.bin").symlink_to(tmp_path / "blob")
    (folder / "loop").symlink_to(folder)
    packed = pack(folder, tmp_path / "a.lsm")
    assert any("loop, a link to a folder" in note for note in packed.notes)
    unpacked = unpack(packed.path, tmp_path / "out").path
    assert (unpacked / "linked.bin").read_bytes() == b"weights" * 100
    assert not (unpacked / "linked.bin").is_symlink()


def test_an_artifact_leaves_its_finished_steps_behind(tmp_path: Path) -> None:
    folder = shards(tmp_path / "out")
    (folder / "manifest.json").write_text("{}")
    (folder / ".lissom").mkdir()
    (folder / ".lissom" / "step").write_bytes(b"x" * 1000)
    packed = pack(folder, tmp_path / "a.lsm")
    assert packed.notes == (
        "left out: .lissom, the finished steps of the run that made the artifact",
    )
    assert not (unpack(packed.path, tmp_path / "again").path / ".lissom").exists()


def test_a_file_that_changes_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archives.write(tmp_path / "w.bin", b"a" * 5000)
    laid_out = layout.lay_out

    def then_written(*arguments: Any, **named: Any) -> layout.Layout:
        found = laid_out(*arguments, **named)
        path.write_bytes(b"b" * 5000)
        return found

    monkeypatch.setattr(packing, "lay_out", then_written)
    with pytest.raises(ModelError, match="changed while it was read"):
        pack(path, tmp_path / "a.lsm")
    assert sorted(os.listdir(tmp_path)) == ["w.bin"]


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    path = archives.write(tmp_path / "w.bin", b"a" * 100)
    with pytest.raises(RequestError, match="no archive that could be replaced"):
        pack(path, archives.write(tmp_path / "precious.lsm", b"not an archive"))
    archive = pack(path, tmp_path / "a.lsm").path
    assert pack(path, archive).path == archive, "an archive may be written anew"
    with pytest.raises(RequestError, match="something already"):
        unpack(archive, path)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RequestError, match="something already"):
        unpack(archive, tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()
    several = pack(shards(tmp_path / "m"), tmp_path / "m.lsm").path
    with pytest.raises(RequestError, match="something already"):
        unpack(several, tmp_path / "m")
    with pytest.raises(RequestError, match="inside the folder"):
        pack(tmp_path / "m", tmp_path / "m" / "deep" / "a.lsm")


def test_an_existing_folder_takes_one_file_and_an_empty_one_takes_several(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "empty").mkdir()
    one = pack(archives.write(tmp_path / "w.bin", b"abc" * 99), tmp_path / "w.lsm").path
    assert unpack(one, tmp_path / "models").path == tmp_path / "models" / "w.bin"
    several = pack(shards(tmp_path / "m"), tmp_path / "m.lsm").path
    unpack(several, tmp_path / "empty")
    assert not filecmp.dircmp(tmp_path / "m", tmp_path / "empty").left_only


def run(code: str, *arguments: str | Path, limit: int | None = None) -> subprocess.Popen[str]:
    def limited() -> None:
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": SOURCES}, preexec_fn=limited,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


DO = """
import sys
from lissom.errors import FolderError
from lissom.storage.{name} import {name}
try:
    {name}(sys.argv[1], sys.argv[2])
except FolderError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["pack", "unpack"])
def test_a_write_that_fails_leaves_nothing_and_the_original(name: str, tmp_path: Path) -> None:
    """A file may not grow over its limit: what a full disk does, without one."""
    path = archives.write(tmp_path / "w.bin", np.random.default_rng(0).bytes(300_000))
    source = path if name == "pack" else pack(path, tmp_path / "w.lsm").path
    before = sorted(os.listdir(tmp_path)), source.read_bytes()
    out, err = run(DO.format(name=name), source, tmp_path / "out", limit=100_000).communicate()
    assert "cannot be written" in out, err
    assert (sorted(os.listdir(tmp_path)), source.read_bytes()) == before


@pytest.mark.parametrize("name", ["pack", "unpack"])
def test_a_kill_leaves_no_file_under_the_final_name(name: str, tmp_path: Path) -> None:
    path = archives.write(tmp_path / "w.bin", np.random.default_rng(0).bytes(20_000_000))
    source = path if name == "pack" else pack(path, tmp_path / "w.lsm").path
    before = source.read_bytes()
    process = run(DO.format(name=name), source, tmp_path / "out")
    while process.poll() is None and not list(tmp_path.glob(".out.*")):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert not (tmp_path / "out").exists()
    assert source.read_bytes() == before


def test_too_little_space_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(archives.write(tmp_path / "w.bin", b"a" * 1000), tmp_path / "w.lsm").path
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=999))
    with pytest.raises(FolderError, match="1,000 bytes would be written, and the disk has 999"):
        unpack(archive, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["w.bin", "w.lsm"]


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    for wrong in (lambda: pack(tmp_path / "no"), lambda: unpack(tmp_path / "no")):
        with pytest.raises(LissomError, match="there is no such|cannot be read"):
            wrong()


def test_external_data_that_overlap_are_packed_with_the_names_that_fit(tmp_path: Path) -> None:
    """One weight of no bytes inside another, and one that begins in the middle of it."""
    model = models.mlp()
    for tensor, offset, length in zip(
        model.graph.initializer, (0, 400, 700), (1000, 0, 600), strict=False
    ):
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "w"), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
    path = models.saved(model, tmp_path / "model.onnx")
    (tmp_path / "w").write_bytes(bytes(range(256)) * 8)
    round_trip(path, tmp_path)
    with Archive(tmp_path / "packed.lsm") as opened:
        assert [(t.offset, t.length) for t in opened.manifest.tensors if t.file == 1] == [
            (0, 1000), (400, 0),
        ]  # fmt: skip
