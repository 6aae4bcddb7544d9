"""`lissom report`: the page of a finished run, made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lissom.artifact import read_manifest
from lissom.report.results import Results
from tests.cli.conftest import Bench, Lissom


@pytest.fixture
def out(bench: Bench, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bench.undisturbed, tmp_path / "out"))


def test_the_page_is_the_one_the_run_wrote(lissom: Lissom, out: Path) -> None:
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    said = lissom("report", out)
    assert said.code == 0
    assert said.err == ""
    assert f"report: {out / 'report.html'}" in said.out
    assert (out / "report.html").read_bytes() == before


def test_it_tells_digests_recipe_and_layers(lissom: Lissom, out: Path, tmp_path: Path) -> None:
    said = lissom("report", out, "-o", tmp_path / "page.html")
    assert said.code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    manifest = read_manifest(out)
    assert manifest.files["model.onnx"] in page
    assert "technique: quantize.static" in page
    results = Results.model_validate_json((out / "results.json").read_bytes())
    layers = {one.name: one for one in results.layers}
    assert layers["point"].compressed < layers["point"].original / 3
    assert sum(one.compressed for one in results.layers) == (out / "model.onnx").stat().st_size
    assert sum(one.original for one in results.layers) == manifest.original["bytes"]
    assert "Where the bytes are" in page


def test_json_names_the_page_and_holds_the_results(lissom: Lissom, out: Path) -> None:
    said = lissom("report", out, "--json")
    found = json.loads(said.out)
    assert found["report"] == str(out / "report.html")
    assert Results.model_validate(found["results"]).model == "depthwise"


def test_a_folder_without_an_artifact_has_a_page_too(lissom: Lissom, out: Path) -> None:
    (out / "manifest.json").unlink()
    assert lissom("report", out).code == 0
    assert "SHA-256" not in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["report", "compare"])
def test_no_results_is_a_wrong_request(
    lissom: Lissom, out: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "empty").mkdir()
    folders = [tmp_path / "empty"] if command == "report" else [out, tmp_path / "empty"]
    said = lissom(command, *folders)
    assert said.code == 2
    assert "holds no results of lissom" in said.err
    assert "lissom compress" in said.err
    assert not (tmp_path / "empty" / "report.html").exists()


def test_a_page_that_cannot_be_written(lissom: Lissom, out: Path, tmp_path: Path) -> None:
    said = lissom("report", out, "-o", tmp_path / "nowhere" / "page.html")
    assert said.code == 2
    assert "page.html cannot be written" in said.err
