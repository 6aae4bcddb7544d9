"""A recipe runs step by step, starts where the store ends, and gives the same bytes again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from lissom.errors import ModelError, RequestError
from lissom.recipe import catalog
from lissom.recipe import run as engine
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.task import Batches
from lissom.technique import TECHNIQUES, Context
from tests import models

assert catalog.__all__, "importing the catalog fills the table of techniques"

STATIC = Recipe(
    name="static", steps=(Step(technique="graph.optimize"), Step(technique="quantize.static"))
)


@pytest.fixture
def source(mlp_onnx: Path) -> Built:
    return Built(mlp_onnx, "source")


@pytest.fixture
def context() -> Context:
    return Context(calibration=Batches.of(models.feeds(models.mlp(), 64)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_the_result_is_quantized_and_answers_alike(
    source: Built, context: Context, store: Store
) -> None:
    built = run(STATIC, source, context, store)
    kinds = {node.op_type for node in onnx.load(built.path).graph.node}
    assert "DequantizeLinear" in kinds
    feeds = models.feeds(models.mlp(), 32, seed=3)
    expected, got = (
        ort.InferenceSession(path).run(None, feeds)[0] for path in (source.path, built.path)
    )
    assert np.linalg.norm(got - expected) < 0.05 * np.linalg.norm(expected)


def test_two_stores_hold_the_same_bytes_under_the_same_keys(
    source: Built, context: Context, tmp_path: Path
) -> None:
    one, two = (run(STATIC, source, context, Store(tmp_path / name)) for name in "ab")
    assert one.key == two.key
    assert one.path.read_bytes() == two.path.read_bytes()
    names = [sorted(p.name for p in (tmp_path / name / "steps").iterdir()) for name in "ab"]
    assert names[0] == names[1]
    assert len(names[0]) == 2


def test_a_finished_step_is_not_run_again_and_a_missing_one_is(
    source: Built, context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    for name in ("graph.optimize", "quantize.static"):
        entry = TECHNIQUES[name]

        def counted(*args: Any, entry: Any = entry) -> Any:
            ran.append(entry.name)
            return entry.apply(*args)

        monkeypatch.setitem(TECHNIQUES, name, dataclasses.replace(entry, apply=counted))
    first = run(STATIC, source, context, store)
    content = first.path.read_bytes()
    assert ran == ["graph.optimize", "quantize.static"]
    run(STATIC, source, context, store)
    assert len(ran) == 2
    first.path.unlink()
    first.path.parent.rmdir()
    assert run(STATIC, source, context, store).path.read_bytes() == content
    assert ran[2:] == ["quantize.static"]


def test_the_key_depends_on_all_that_can_change_the_answer(
    source: Built, context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(recipe: Recipe = STATIC, source: Built = source, context: Context = context) -> str:
        return run(recipe, source, context, store).key

    percentile = Step(technique="quantize.static", config={"observer": "percentile"})
    other = Batches.of(models.feeds(models.mlp(), 64, seed=9))
    keys = [
        key(),
        key(source=Built(source.path, "another")),
        key(recipe=Recipe(name="p", steps=(STATIC.steps[0], percentile))),
        key(recipe=Recipe(name="s", steps=STATIC.steps[1:])),
        key(context=dataclasses.replace(context, calibration=other)),
        key(context=dataclasses.replace(context, seed=1)),
        key(context=dataclasses.replace(context, pair_sums=True)),
    ]
    monkeypatch.setattr(engine, "versions", lambda: {"lissom": "newer"})
    keys.append(key())
    assert len(set(keys)) == len(keys)
    renamed = Recipe(name="only the name differs", steps=STATIC.steps)
    assert key(recipe=renamed) == keys[-1]


def test_what_a_step_lacks_is_told_before_the_first_runs(source: Built, store: Store) -> None:
    with pytest.raises(RequestError, match="quantize.static needs calibration data"):
        run(STATIC, source, Context(), store)
    assert list(store.steps.iterdir()) == []


def test_a_step_that_fails_leaves_the_ones_before_it(source: Built, store: Store) -> None:
    recipe = Recipe(
        name="x",
        steps=(
            STATIC.steps[0],
            Step(technique="quantize.float16", config={"least_elements": 10**9}),
        ),
    )
    with pytest.raises(ModelError, match="nothing to quantize"):
        run(recipe, source, Context(), store)
    assert len(list(store.steps.iterdir())) == 1


def test_a_graph_the_runtime_refuses_is_a_failure_and_not_stored(
    source: Built, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any, config: Any, context: Any) -> Any:
        for node in model.graph:
            node.op_type = "NoSuchOperator"
        return model

    entry = dataclasses.replace(TECHNIQUES["graph.optimize"], apply=broken)
    monkeypatch.setitem(TECHNIQUES, "graph.optimize", entry)
    recipe = Recipe(name="x", steps=STATIC.steps[:1])
    with pytest.raises(ModelError, match=r"graph\.optimize gave a graph that does not load"):
        run(recipe, source, Context(), store)
    assert list(store.steps.iterdir()) == []
