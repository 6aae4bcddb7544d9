"""`lissom check`: exit codes and what is printed."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

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
    said = lissom("check", tmp_path / "nope")
    assert (said.code, "there is no such folder" in said.err) == (2, True)
    said = lissom("compare", tmp_path / "nope", tmp_path)
    assert (said.code, "there is no such folder" in said.err) == (2, True)


def test_recorded_promises_are_measured_again(
    lissom: Lissom, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the data lie that the manifest names.
    monkeypatch.chdir(bench.folder)
    report = tmp_path / "junit.xml"
    said = lissom("check", bench.undisturbed, "--measure", "--json", "--junit", report)
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["measurement"]["speed"] is not None
    (drop,) = found["promises"]
    assert (drop["name"], drop["promised"], drop["source"]) == ("drop", "10pt", "recorded")
    assert drop["holds"] is True, drop
    suite = ElementTree.parse(report).getroot()[0]
    assert [case.get("name") for case in suite] == ["artifact", "drop"]
    assert suite.get("failures") == "0"


def test_a_promise_that_does_not_hold_exits_with_one(
    lissom: Lissom, bench: Bench, tmp_path: Path
) -> None:
    report = tmp_path / "junit.xml"
    said = lissom("check", bench.undisturbed, "--max-size", "1kB", "--junit", report)
    assert said.code == 1
    said_in_words = " ".join(said.out.split())
    kilobytes = f"{(bench.undisturbed / 'model.onnx').stat().st_size / 1000:.1f} kB"
    assert f"size: promised 1kB, found {kilobytes}: does not hold (size {kilobytes}" in (
        said_in_words
    )
    assert "drop: promised 10pt: cannot be told here (arrays:depthwise.npz cannot be" in (
        said_in_words
    )
    suite = ElementTree.parse(report).getroot()[0]
    assert [len(suite.findall(f"testcase/{tag}")) for tag in ("failure", "skipped")] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-size", "much"], "cannot read the size"),
        (["--metric", "f1"], "without --task"),
        (["--max-drop", "1pt"], "the drop in quality cannot be measured"),
        (["--against", "nowhere.onnx"], "nowhere.onnx"),
        (["--junit", "."], "--junit . is a folder"),
        (["--junit", "nowhere/lissom.xml"], "is in a folder that is not there"),
    ],
)
def test_wrong_wishes(lissom: Lissom, bench: Bench, arguments: list[str], words: str) -> None:
    said = lissom("check", bench.undisturbed, *arguments)
    assert said.code == 2
    assert words in said.err
