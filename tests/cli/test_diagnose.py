"""`lissom diagnose`: the terminal, JSON, a page, wrong requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lissom.report.diagnosis import Diagnosis
from tests.cli.conftest import Bench, Lissom


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder of lissom's around the file, parts are kept below the current one."""
    monkeypatch.chdir(tmp_path)


def test_a_pair_with_a_task_and_a_page(bench: Bench, lissom: Lissom, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = lissom(
        "diagnose", bench.folder / "depthwise.onnx", bench.undisturbed,
        "--task", f"arrays:{bench.folder / 'depthwise.npz'}", "--samples", "32", "-o", page,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.err == ""
    assert "depthwise.onnx -> model.onnx\n" in said.out
    assert "looked at: 32 of " in said.out and "accuracy " in said.out
    assert "1. " in said.out and "  layer " in said.out
    assert said.out.endswith(f"page: {page}\n")
    assert "<title>model.onnx: lissom diagnosis</title>" in page.read_text(encoding="utf-8")


def test_without_a_task_it_says_so_and_json_holds_everything(bench: Bench, lissom: Lissom) -> None:
    pair = (bench.folder / "depthwise.onnx", bench.undisturbed / "model.onnx")
    said = lissom("diagnose", *pair, "--shape", "image=8x3x32x32", "--json")
    assert said.code == 0, said.err
    found = Diagnosis.model_validate(json.loads(said.out))
    assert found.made_up and found.samples == 32
    assert f"{pair[1]} was judged by arrays:" in said.err
    assert {layer.op_type for layer in found.layers} >= {"Conv", "Gemm"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MLP", "MLP"], "are the same file"),
        (["none.onnx", "MLP"], "there is no such model"),
        (["MLP", "TEXT"], "bad.onnx"),
        (["MLP", "OTHER"], "take different inputs"),
        (["MLP", "OTHER", "--samples", "3"], "should be greater than or equal to 8"),
        (["MLP", "OTHER", "--tokenizer", "t"], "--tokenizer t is given without --task"),
        (["EMPTY", "MLP"], "is not a model"),
        (["MLP", "OTHER", "-o", "no/page.html"], "there is no such folder"),
    ],
)
def test_what_is_wrong_is_exit_code_2(
    bench: Bench, lissom: Lissom, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "empty").mkdir()
    places = {
        "MLP": bench.folder / "mlp.onnx", "OTHER": bench.folder / "two_input.onnx",
        "TEXT": tmp_path / "bad.onnx", "EMPTY": tmp_path / "empty",
    }  # fmt: skip
    said = lissom("diagnose", *(str(places.get(text, text)) for text in arguments))
    assert said.code == 2
    assert words in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_what_is_finished_is_kept_where_compress_keeps_its_steps(
    bench: Bench, lissom: Lissom, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    theirs = tmp_path / "theirs" / "model.onnx"
    theirs.write_bytes((bench.undisturbed / "model.onnx").read_bytes())
    pair = (bench.folder / "depthwise.onnx", theirs)
    first = lissom("diagnose", "--no-times", *pair, "--json")
    assert first.code == 0, first.err
    assert [each.name for each in theirs.parent.iterdir()] == ["model.onnx"]
    kept = tmp_path / "lissom-out" / ".lissom" / "diagnoses" / "records"
    (record,) = kept.iterdir()
    again = lissom("diagnose", "--no-times", *pair, "--json")
    assert again.out == first.out
    # What was kept is what is told.
    text = record.read_text(encoding="utf-8")
    record.write_text(text.replace('"samples":32', '"samples":31'), encoding="utf-8")
    assert json.loads(lissom("diagnose", "--no-times", *pair, "--json").out)["samples"] == 31
    assert lissom("diagnose", "--no-times", *pair, "--json", "--fresh").out == first.out
    named = lissom("diagnose", "--no-times", *pair, "--json", "--folder", tmp_path / "named")
    assert named.out == first.out
    assert (tmp_path / "named" / ".lissom").is_dir()


def test_a_folder_of_others_is_refused_if_named_and_else_left_alone(
    bench: Bench, lissom: Lissom, tmp_path: Path
) -> None:
    (tmp_path / "lissom-out").mkdir()
    (tmp_path / "lissom-out" / "thesis.txt").write_text("mine")
    (tmp_path / "theirs").mkdir()
    theirs = tmp_path / "theirs" / "model.onnx"
    theirs.write_bytes((bench.undisturbed / "model.onnx").read_bytes())
    pair = (bench.folder / "depthwise.onnx", theirs)
    assert lissom("diagnose", "--no-times", *pair).code == 0
    assert [each.name for each in (tmp_path / "lissom-out").iterdir()] == ["thesis.txt"]
    said = lissom("diagnose", "--no-times", *pair, "--folder", tmp_path / "lissom-out")
    assert said.code == 2
    assert "not made by lissom" in said.err and "--folder" in said.err
