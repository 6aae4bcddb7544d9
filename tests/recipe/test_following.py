"""Steps before quantization learn from the recipe what they are judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lissom.model import open_model
from lissom.onnx_file import read_onnx, write_onnx
from lissom.quantize.equalize import Equalize, equalize
from lissom.recipe import catalog
from lissom.recipe.following import told
from lissom.recipe.prepare import prepare
from lissom.recipe.run import run
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.stages import stages
from lissom.recipe.store import Store
from lissom.technique import silent
from tests.quantize.test_equalize import bottleneck, context

assert catalog.__all__, "importing the catalog fills the table of techniques"


def recipe(*steps: tuple[str, dict[str, Any]]) -> Recipe:
    return Recipe(
        name="r", steps=tuple(Step(technique=name, config=config) for name, config in steps)
    )


@pytest.mark.parametrize(
    ("before", "behind", "wanted"),
    [
        (("quantize.equalize", {}), ("quantize.static", {}), {}),
        (
            ("quantize.equalize", {}),
            ("quantize.static", {"weight_bits": 3, "rounding": "learned", "observer": "mse"}),
            {"weight_bits": 3, "rounding": "learned"},
        ),
        (
            ("quantize.equalize", {"weight_bits": 5}),
            ("quantize.static", {"weight_bits": 3, "activations": "int8", "symmetric": True}),
            {"weight_bits": 5, "activations": "int8", "symmetric": True},
        ),
        (
            ("quantize.smooth", {"multiply": False}),
            ("quantize.dynamic", {"weight_range": "full"}),
            {"multiply": False, "weight_range": "full", "before": "quantize.dynamic"},
        ),
        (
            ("quantize.smooth", {}),
            ("quantize.mixed", {"default": "w2a8", "layers": {"head": "w8a8"}}),
            {"weight_bits": 2},
        ),
        (("quantize.smooth", {}), ("quantize.float16", {}), {}),
    ],
)
def test_a_step_is_told_what_follows_and_keeps_what_it_sets(
    before: tuple[str, dict[str, Any]],
    behind: tuple[str, dict[str, Any]],
    wanted: dict[str, Any],
) -> None:
    optimize = ("graph.optimize", {})
    found = told(recipe(optimize, before, optimize, behind)).steps
    assert found[1].settings() == Step(technique=before[0], config=wanted).settings()
    assert found[3].config == behind[1]
    assert told(recipe(before)).steps[0].config == before[1]


def test_a_run_judges_by_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(bottleneck(0.2), path)
    few = {"weight_bits": 3, "layer_bits": {"w2": 5}}
    wanted = []
    for settings in (Equalize(**few), Equalize()):
        equal = tmp_path / "equal.onnx"
        write_onnx(equalize(read_onnx(path), settings, context()), equal)
        wanted.append(equal.read_bytes())
    assert wanted[0] != wanted[1]
    given = recipe(("quantize.equalize", {}), ("quantize.static", few))
    store, model = Store(tmp_path / "stages"), open_model(path)
    prepared = prepare(model, store, silent)
    first, last = stages(given, model, prepared, context(), store)
    assert first.built.path.read_bytes() == wanted[0]
    whole = run(given, prepared.built, context(), store)
    # The same step of the same recipe is not done twice.
    assert whole == last.built
