"""Tensors of an archive one by one, with the methods and answers of safetensors' own opening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

import lissom
from lissom.errors import FormatError, RequestError
from lissom.storage.archive import Archive
from lissom.storage.pack import pack
from tests import models
from tests.storage import archives


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards with tensors of many types, and the archive of both."""
    torch.manual_seed(0)
    (tmp_path / "m").mkdir()
    first = {
        "bf16": torch.randn(20, 30).bfloat16(), "f32": torch.randn(40), "empty": torch.zeros(0, 3),
        "f8": torch.randn(16, 64).to(torch.float8_e4m3fn), "scalar": torch.tensor(3.0),
        "bool": torch.rand(600) > 0.5,
    }  # fmt: skip
    second = {"i8": torch.randint(-9, 9, (32, 32)).to(torch.int8), "i64": torch.arange(90)}
    safetensors.torch.save_file(first, tmp_path / "m" / "1.safetensors", {"format": "pt"})
    safetensors.torch.save_file(second, tmp_path / "m" / "2.safetensors")
    pack(tmp_path / "m", tmp_path / "m.lsm")
    return tmp_path


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_tensors_are_those_of_safetensors(folder: Path, framework: str) -> None:
    opened = lissom.safe_open(folder / "m.lsm", framework=framework)
    with opened as ours:
        names: list[str] = []
        for shard in ("1", "2"):
            path = folder / "m" / f"{shard}.safetensors"
            with safetensors.safe_open(path, framework="pt") as theirs:
                names += theirs.keys()
                for name in list(theirs.keys()):
                    expected, found = theirs.get_tensor(name), ours.get_tensor(name)
                    if framework == "np":
                        found = torch.from_numpy(found.astype(np.float32))
                        expected = expected.float()
                    assert found.dtype == expected.dtype
                    assert found.shape == expected.shape
                    assert torch.equal(found.float(), expected.float())
        assert ours.keys() == sorted(names)
        assert ours.metadata() == {"format": "pt"}


def test_a_state_dict_is_loaded_lazily_into_torch(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Linear(64, 8))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "w.safetensors")
    archive = pack(tmp_path / "w.safetensors", tmp_path / "w.lsm").path
    other = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Linear(64, 8))
    with lissom.safe_open(archive) as weights:
        other.load_state_dict({name: weights.get_tensor(name) for name in weights})
    sample = torch.randn(3, 32)
    assert torch.equal(network(sample), other(sample))
    with torch.no_grad():
        other[0].weight.add_(1)  # memory of its own, to be trained on


def test_slices(folder: Path) -> None:
    with lissom.safe_open(folder / "m.lsm") as ours:
        part = ours.get_slice("bf16")
        assert part.get_shape() == [20, 30]
        assert part.get_dtype() == "BF16"
        assert torch.equal(part[2:4, :5], ours.get_tensor("bf16")[2:4, :5])


def test_only_what_is_asked_for_is_decoded(folder: Path) -> None:
    data = bytearray((folder / "m.lsm").read_bytes())
    with Archive(folder / "m.lsm") as opened:
        tensor = opened.manifest.tensor("i8")
        (where,) = opened.manifest.slices(tensor.file, tensor.offset, tensor.length)
        data[opened._starts[where.blob] + 40] ^= 1
    (folder / "m.lsm").write_bytes(data)
    with lissom.safe_open(folder / "m.lsm") as ours:
        assert ours.get_tensor("bf16").shape == (20, 30)
        with pytest.raises(FormatError, match="'i8' of 2.safetensors"):
            ours.get_tensor("i8")


def test_names_of_several_files_and_unknown_ones(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for name in "ab":
        value = torch.full((200,), float(ord(name)))
        safetensors.torch.save_file({"w": value}, tmp_path / "m" / f"{name}.safetensors")
    archive = pack(tmp_path / "m", tmp_path / "m.lsm").path
    with lissom.safe_open(archive) as ours:
        assert ours.keys() == ["a.safetensors:w", "b.safetensors:w"]
        assert ours.get_tensor("b.safetensors:w")[0] == ord("b")
        with pytest.raises(RequestError, match="2 files have a tensor 'w'"):
            ours.get_tensor("w")
        with pytest.raises(RequestError, match="unknown tensor 'v'"):
            ours.get_tensor("v")


def test_an_onnx_file_and_blocks_of_gguf(tmp_path: Path) -> None:
    model = models.mlp()
    onnx_archive = pack(models.saved(model, tmp_path / "m.onnx"), tmp_path / "m.lsm").path
    with lissom.safe_open(onnx_archive, framework="np") as ours:
        first = model.graph.initializer[0]
        assert ours.get_tensor(first.name).tobytes() == first.raw_data
        assert not ours.metadata()
    data = archives.gguf(
        [("blk", (64, 32), 2, bytes(64 * 18)), ("n", (200,), 0, b"\0\0\0\x40" * 200)]
    )
    path = archives.write(tmp_path / "m.gguf", data)
    with lissom.safe_open(pack(path, tmp_path / "g.lsm").path) as ours:
        assert torch.equal(ours.get_tensor("n"), torch.full((200,), 2.0))
        with pytest.raises(RequestError, match="no type for tensor 'blk': it is GGUF:Q4_0"):
            ours.get_tensor("blk")


def test_an_unknown_framework(folder: Path) -> None:
    with pytest.raises(RequestError, match="unknown framework 'tf'"):
        lissom.safe_open(folder / "m.lsm", framework="tf")
