"""`lissom recipes`, `schema`, `plan` and `run` on an ONNX file, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

from tests import models
from tests.cli.conftest import BRIEF, Lissom

RECIPE = "steps:\n  - technique: graph.optimize\n  - technique: quantize.static\n"


def saved(folder: Path) -> tuple[Path, Path]:
    """A classifier and data with its own answers as labels."""
    model = models.saved(models.mlp(), folder / "mlp.onnx")
    (inputs,) = models.feeds(models.mlp(), 64).items()
    logits = ort.InferenceSession(str(model)).run(None, dict([inputs]))[0]
    np.savez(folder / "data.npz", **dict([inputs]), labels=logits.argmax(1))
    return model, folder / "data.npz"


def test_recipes_and_schema(lissom: Lissom) -> None:
    said = lissom("recipes")
    assert said.code == 0
    assert "prune.structured(macs=0.5, multiple_of=8)" in said.out
    listed = json.loads(lissom("recipes", "--json").out)["recipes"]
    assert {recipe["name"] for recipe in listed} >= {"int8"}
    schema = json.loads(lissom("schema").out)
    assert schema["properties"]["steps"]["minItems"] == 1


def test_plan_tells_order_form_and_cost(lissom: Lissom, tmp_path: Path) -> None:
    model, data = saved(tmp_path)
    said = lissom("plan", "int8", "--model", model, "--task", f"arrays:{data}")
    assert said.code == 0, said.err
    assert said.out.index("1. graph.optimize") < said.out.index("2. quantize.static")
    assert "destroys: float weights" in said.out
    assert "on this machine" in said.out
    steps = json.loads(
        lissom("plan", "int8", "--model", model, "--task", f"arrays:{data}", "--json").out
    )["steps"]
    assert [step["form"] for step in steps] == ["onnx", "onnx"]
    assert all(step["seconds"] > 0 for step in steps)


def test_plan_refuses_what_cannot_run(lissom: Lissom, tmp_path: Path) -> None:
    model, data = saved(tmp_path)
    said = lissom("plan", "distill", "--model", model, "--task", f"arrays:{data}")
    assert said.code == 2
    assert "the model is an ONNX file" in said.err
    assert "file.py:factory" in said.err


def test_run_measures_every_step_and_saves_the_last(lissom: Lissom, tmp_path: Path) -> None:
    model, data = saved(tmp_path)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    out = tmp_path / "out"
    said = lissom(
        "run", tmp_path / "mine.yaml", "--model", model, "--task", f"arrays:{data}", "-o", out,
        "--max-drop", "20pt", "--json", *BRIEF,
    )  # fmt: skip
    assert said.code == 0, said.err
    results = json.loads(said.out)
    assert results["kind"] == "recipe"
    assert [row["name"] for row in results["rows"]] == ["1 graph.optimize", "2 quantize.static"]
    assert ort.InferenceSession(str(out / "model.onnx"))
    assert "After 2 steps" in results["sentence"]


def test_run_outside_the_budget_ends_with_one(lissom: Lissom, tmp_path: Path) -> None:
    model, data = saved(tmp_path)
    said = lissom(
        "run", "int8", "--model", model, "--task", f"arrays:{data}", "-o", tmp_path / "out",
        "--max-size", "1kB", *BRIEF,
    )  # fmt: skip
    assert said.code == 1
    assert "size" in said.out and "1kB" in said.out
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_a_recipe_that_is_not_there(lissom: Lissom, tmp_path: Path) -> None:
    model, _ = saved(tmp_path)
    said = lissom("run", "int9", "--model", model, "-o", tmp_path / "out")
    assert said.code == 2
    assert "did you mean 'int8'?" in said.err
    assert not (tmp_path / "out").exists()
