"""`lissom compress --effort` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import models
from tests.cli.conftest import Lissom


def test_quick_says_what_it_left_out(lissom: Lissom, tmp_path: Path) -> None:
    model = models.saved(models.mlp(hidden=256), tmp_path / "mlp.onnx")
    said = lissom(
        "compress", model, "-o", tmp_path / "out", "--effort", "quick", "--seconds", "0.3", "--json"
    )
    assert said.code == 0, said.err
    results = json.loads(said.out)
    assert [row["name"] for row in results["rows"]] == ["int8 dynamic"]
    why = {each["name"]: each["why"] for each in results["skipped"]}
    assert why["float16 storage"] == why["8-bit weights"] == "left out by --effort quick"
    # Seconds that are typed are kept to.
    seconds = results["settings"]["seconds"] * results["settings"]["processes"]
    assert seconds == pytest.approx(0.3)


def test_an_unknown_effort_is_refused_before_the_model_is_read(
    lissom: Lissom, tmp_path: Path
) -> None:
    said = lissom("compress", tmp_path / "absent.onnx", "--effort", "thorogh")
    assert said.code == 2
    assert "unknown effort 'thorogh'" in said.err
    assert "absent" not in said.err


def test_a_limit_on_the_time_leaves_one_candidate_and_names_the_others(
    lissom: Lissom, tmp_path: Path
) -> None:
    model = models.saved(models.mlp(hidden=256), tmp_path / "mlp.onnx")
    said = lissom(
        "compress",
        model,
        "-o",
        tmp_path / "out",
        "--time",
        "0.1s",
        "--seconds",
        "0.3",
        "--processes",
        "1",
        "--json",
    )
    assert said.code == 0, said.err
    results = json.loads(said.out)
    assert [row["name"] for row in results["rows"]] == ["int8 dynamic"]
    late = [each for each in results["skipped"] if each["why"].startswith("not begun: takes about")]
    assert {each["name"] for each in late} == {
        "float32, optimized", "float16 storage", "8-bit weights",
    }  # fmt: skip
    assert all(each["seconds"] > 0.3 and each["bytes"] > 0 for each in late)
    assert any("too short for even one candidate" in note for note in results["notes"])


def test_a_limit_that_is_no_time_is_refused_before_the_model_is_read(
    lissom: Lissom, tmp_path: Path
) -> None:
    said = lissom("compress", tmp_path / "absent.onnx", "--time", "soon")
    assert said.code == 2
    assert "cannot read the time 'soon'" in said.err
    assert "absent" not in said.err
