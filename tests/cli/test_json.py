"""docs/json.md names every top-level field of every document, and commands print those."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lissom.cli.app import app
from lissom.cli.documents import DOCUMENTS
from lissom.storage.pack import pack
from tests.cli.conftest import BRIEF, Bench, Lissom

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def documented() -> dict[str, list[str]]:
    """The fields in the first column of each document's table, by document."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        name = section.split("`")[1]
        cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
        found[name] = [field for cell in cells for field in re.findall(r"`(\w+)`", cell)]
    return found


def test_every_document_is_on_the_page_and_in_the_help(lissom: Lissom) -> None:
    assert set(documented()) == set(DOCUMENTS)
    said = " ".join(lissom("schema", "--help").out.split())
    assert all(name in said for name in DOCUMENTS)


def test_every_command_is_on_the_page() -> None:
    commands = {command.name for command in app.registered_commands}
    told = re.findall(r"`lissom (\w+)`", "".join(re.findall(r"^## .*$", PAGE, re.MULTILINE)))
    assert set(told) == commands - {"schema"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_has_the_fields_of_the_page(lissom: Lissom, name: str) -> None:
    said = lissom("schema", name)
    assert said.code == 0, said.err
    schema = json.loads(said.out)
    assert list(schema["properties"]) == documented()[name]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("check", ["check", "{out}"]),
        ("compare", ["compare", "{out}", "{out}"]),
        ("doctor", ["doctor", "{mlp}"]),
        ("error", ["measure", "nowhere.onnx"]),
        ("error", ["measure", "--frobnicate"]),
        ("inspect", ["inspect", "{mlp}"]),
        ("pack", ["pack", "{mlp}", "-o", "{archive}"]),
        ("plan", ["plan", "int8", "--model", "{mlp}", "--task", "arrays:{data}"]),
        ("recipes", ["recipes"]),
        ("report", ["report", "{out}", "-o", "{page}"]),
        ("results", ["measure", "{mlp}", *BRIEF]),
        ("techniques", ["techniques"]),
        ("unpack", ["unpack", "{packed}", "--list"]),
    ],
)
def test_a_command_prints_the_fields_of_the_page(
    lissom: Lissom, bench: Bench, tmp_path: Path, name: str, arguments: list[str]
) -> None:
    places = {
        "out": bench.undisturbed, "mlp": bench.folder / "mlp.onnx",
        "data": bench.folder / "mlp.npz", "page": tmp_path / "page.html",
        "archive": tmp_path / "mlp.lsm", "packed": tmp_path / "packed.lsm",
    }  # fmt: skip
    pack(places["mlp"], places["packed"])
    said = lissom(*(argument.format(**places) for argument in arguments), "--json")
    assert said.code == (2 if name == "error" else 0), said.err
    found = json.loads(said.out)
    assert list(found) == documented()[name]
    assert found["schema_version"] == 1


def test_what_a_run_leaves_has_the_fields_of_the_page(bench: Bench) -> None:
    for name in ("results", "manifest"):
        found = json.loads((bench.undisturbed / f"{name}.json").read_text(encoding="utf-8"))
        assert list(found) == documented()[name]


def test_a_document_that_is_not_there(lissom: Lissom) -> None:
    said = lissom("schema", "result")
    assert said.code == 2
    assert "did you mean 'results'?" in said.err
