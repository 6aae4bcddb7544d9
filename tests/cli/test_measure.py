"""`lissom measure`: one file, two files, wrong files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lissom.report.results import Results
from tests.cli.conftest import BRIEF, Bench, Lissom


def test_one_file_as_a_table(bench: Bench, lissom: Lissom) -> None:
    said = lissom("measure", bench.folder / "mlp.onnx", *BRIEF)
    assert said.code == 0
    assert said.err == ""
    assert "mlp.onnx" in said.out
    assert "quality: not measured" in said.out
    assert "stays as it is" not in said.out
    assert "Nothing was chosen" not in said.out


def test_the_quality_of_one_file_is_explained(bench: Bench, lissom: Lissom) -> None:
    said = lissom(
        "measure", bench.folder / "mlp.onnx", "--task", f"arrays:{bench.folder / 'mlp.npz'}", *BRIEF
    )
    flowing = " ".join(said.out.split())
    assert "quality: accuracy, higher is better," in flowing
    assert "not measured" not in flowing and "chosen" not in flowing


def test_two_files_with_a_task_as_json(bench: Bench, lissom: Lissom) -> None:
    said = lissom(
        "measure", bench.undisturbed / "model.onnx", "--against", bench.folder / "depthwise.onnx",
        "--task", f"arrays:{bench.folder / 'depthwise.npz'}", "--json", *BRIEF,
    )  # fmt: skip
    assert said.code == 0
    assert said.err == ""
    results = Results.model_validate(json.loads(said.out))
    (row,) = results.rows
    assert (results.original.name, row.name) == ("depthwise.onnx", "model.onnx")
    assert row.measurement.footprint.bytes < results.original.measurement.footprint.bytes
    assert row.measurement.quality is not None
    assert row.measurement.quality.metric == "accuracy"
    assert row.measurement.quality.original.value == 1.0
    assert row.measurement.speed is not None


def test_a_folder_with_one_onnx_file_is_that_file(bench: Bench, lissom: Lissom) -> None:
    said = lissom("measure", bench.undisturbed, "--json", *BRIEF)
    assert said.code == 0, said.err
    assert json.loads(said.out)["original"]["name"] == "model.onnx"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.onnx"], "there is no such model"),
        (["MLP", "--against", "none.onnx"], "there is no such model"),
        (["MLP", "--against", "DEPTHWISE"], "take different inputs"),
        (["MLP", "--task", "arrays:none.npz"], "No such file"),
        (["MLP", "--metric", "accuracy"], "is given without --task"),
        (["MLP", "--shape", "input=3"], "has 1 axes"),
        (["MLP", "--batch", "0"], "Invalid value"),
        (["MLP", "--threads", "999"], "cores"),
        (["FOLDER"], ".onnx files"),
    ],
)
def test_what_is_wrong_is_exit_code_2(
    bench: Bench, lissom: Lissom, arguments: list[str], words: str
) -> None:
    places = {
        "MLP": bench.folder / "mlp.onnx",
        "DEPTHWISE": bench.folder / "depthwise.onnx",
        "FOLDER": bench.folder,
    }
    said = lissom("measure", *(places.get(word, Path(word)) for word in arguments), *BRIEF)
    assert said.code == 2
    assert words in said.err
    assert said.out == ""
    assert "Traceback" not in said.err
