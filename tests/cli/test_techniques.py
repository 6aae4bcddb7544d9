"""`lissom techniques`: all of them, with needs and settings."""

from __future__ import annotations

import json

from lissom.recipe import catalog
from lissom.technique import TECHNIQUES
from tests.cli.conftest import Lissom


def test_every_technique_is_listed(lissom: Lissom) -> None:
    said = lissom("techniques")
    assert said.code == 0
    names = [line for line in said.out.splitlines() if not line.startswith(" ")]
    assert names == sorted(TECHNIQUES)
    assert len(names) == len(catalog.__all__)
    assert "  needs: calibration, float weights" in said.out.splitlines()
    assert "observer='auto'" in said.out


def test_as_json(lissom: Lissom) -> None:
    said = lissom("techniques", "--json")
    entries = {entry["name"]: entry for entry in json.loads(said.out)["techniques"]}
    assert set(entries) == set(TECHNIQUES)
    assert said.err == ""
    static = entries["quantize.static"]
    assert static["form"] == "onnx"
    assert static["needs"] == ["calibration", "float weights"]
    assert static["settings"]["percent"] == 99.99
    assert static["summary"].endswith(".")
