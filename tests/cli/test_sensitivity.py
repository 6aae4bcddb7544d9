"""`lissom sensitivity`: the terminal, JSON, a page, wrong requests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lissom.tables import Sensitivity
from tests import models
from tests.cli.conftest import Lissom


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.saved(models.depthwise(), tmp_path / "net.onnx")
    feeds = models.feeds(models.depthwise(), 48)
    np.savez(tmp_path / "net.npz", labels=np.arange(48) % 10, **feeds)
    return tmp_path


def test_a_table_and_a_page(folder: Path, lissom: Lissom) -> None:
    page = folder / "page.html"
    said = lissom(
        "sensitivity", folder / "net.onnx", "--task", f"arrays:{folder / 'net.npz'}",
        "--formats", "w8a8,w4a8", "-o", page, "--folder", folder / "work",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.err == ""
    head = said.out.splitlines()[2].split()
    assert head == ["layer", "weights", "w8a8", "w4a8"]
    assert "depth/Conv" in said.out and "all together, measured" in said.out
    assert said.out.endswith(f"page: {page}\n")
    assert "<title>net: lissom sensitivity</title>" in page.read_text(encoding="utf-8")


def test_json_is_the_table(folder: Path, lissom: Lissom) -> None:
    said = lissom(
        "sensitivity", folder / "net.onnx", "--task", f"arrays:{folder / 'net.npz'}", "--json",
        "--folder", folder / "work",
    )  # fmt: skip
    assert said.code == 0, said.err
    found = Sensitivity.model_validate(json.loads(said.out))
    assert found.formats[:3] == ("float16", "w8a8", "w6a8")
    assert [layer.op_type for layer in found.layers] == ["Conv", "Conv", "Gemm"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net.onnx"], "no task that brings any"),
        (["net.onnx", "--task", "TASK", "--formats", "w8a9"], "did you mean 'w8a8'"),
        (["net.onnx", "--task", "TASK", "--formats", "float32"], "compared with"),
        (["net.onnx", "--task", "TASK", "--target", "onnx"], "unknown target 'onnx'"),
        (["none.onnx", "--task", "TASK"], "there is no such model"),
        (["net.onnx", "--task", "TASK", "--samples", "2"], "greater than or equal to 8"),
        (["net.onnx", "--task", "TASK", "--folder", "."], "not made by lissom"),
        (
            ["net.onnx", "--task", "TASK", "--folder", "."],
            "name a new folder, or one that lissom made of this model, with --folder",
        ),
        (["net.onnx", "--task", "TASK", "-o", "no/page.html"], "there is no such folder"),
        (["net.onnx", "--task", "TASK", "-o", "."], "it is a folder"),
    ],
)
def test_what_is_wrong_is_exit_code_2(
    folder: Path,
    lissom: Lissom,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(folder)
    said = lissom(
        "sensitivity", *(f"arrays:{folder / 'net.npz'}" if a == "TASK" else a for a in arguments)
    )
    assert said.code == 2
    assert words in said.err.replace("\n", " ")
    # Before anything was measured.
    assert sorted(path.name for path in folder.iterdir()) == ["net.npz", "net.onnx"]
