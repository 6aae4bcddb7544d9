"""`lissom check`: exit codes and what is printed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import Bench, Lissom


def test_a_whole_artifact(lissom: Lissom, bench: Bench) -> None:
    said = lissom("check", bench.undisturbed)
    assert said.code == 0
    assert "files as recorded" in said.out


def test_a_changed_artifact_exits_with_one(lissom: Lissom, bench: Bench, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bench.undisturbed, tmp_path / "copy"))
    (folder / "model.onnx").write_bytes(b"another")
    said = lissom("check", folder, "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert not found["passed"]
    assert "digest differs" in found["problems"][0]


def test_no_artifact_is_a_wrong_request(lissom: Lissom, tmp_path: Path) -> None:
    said = lissom("check", tmp_path)
    assert said.code == 2
    assert "no lissom artifact" in said.err
