"""A file that loses too much is diagnosed and mended before the search gives up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import lissom
from lissom.batches import Batches
from lissom.errors import ModelError
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.search import repair as module
from lissom.search.repair import _scaling, repairs
from lissom.technique import Context
from tests import models
from tests.search.conftest import BRIEF

ROWS = 512


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLP whose hidden features differ a thousandfold, as outliers of transformers do."""
    model = models.mlp(hidden=64)
    weights = {t.name: t for t in model.graph.initializer}
    factors = np.ones(64, np.float32)
    factors[:3] = 300.0
    changed = {
        "fc1.weight": numpy_helper.to_array(weights["fc1.weight"]) * factors,
        "fc1.bias": numpy_helper.to_array(weights["fc1.bias"]) * factors,
        "fc2.weight": numpy_helper.to_array(weights["fc2.weight"]) / factors[:, None],
    }
    for name, array in changed.items():
        weights[name].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))
    path = tmp_path_factory.mktemp("uneven") / "uneven.onnx"
    onnx.save(model, path)
    return path


def test_what_loses_too_much_is_repaired_and_told(uneven: Path, tmp_path: Path) -> None:
    model = onnx.load(uneven)
    inputs = [models.feeds(model, 64, seed=seed) for seed in range(ROWS // 64)]
    task = lissom.Task(calibration=inputs, validation=inputs, metric="cosine")
    result = lissom.compress(
        uneven,
        task,
        folder=tmp_path / "out",
        settings=BRIEF,
        budget=lissom.Budget(drop="0.5pt"),
        techniques=("quantize.static", "quantize.equalize", "quantize.smooth"),
    )
    drops = {
        row.name: row.measurement.quality.drop.value
        for row in result.results.rows
        if row.measurement.quality is not None
    }
    repaired = [name for name in drops if name.endswith("repaired")]
    assert repaired, result.results.skipped
    for name in repaired:
        assert drops[name] < drops[name.removesuffix(", repaired")] / 10
    notes = [note for note in result.results.notes if "was diagnosed" in note]
    assert len(notes) == len(repaired)
    assert all("hold the range" in note and "quantize.smooth" in note for note in notes)
    assert result.best is not None and result.best.row.name in repaired


def test_a_repair_keeps_to_the_techniques_that_were_asked_for(uneven: Path, tmp_path: Path) -> None:
    model = onnx.load(uneven)
    inputs = [models.feeds(model, 64, seed=seed) for seed in range(ROWS // 64)]
    result = lissom.compress(
        uneven,
        lissom.Task(calibration=inputs, validation=inputs, metric="cosine"),
        folder=tmp_path / "out",
        settings=BRIEF,
        budget=lissom.Budget(drop="0.5pt"),
        techniques=("quantize.static",),
    )
    steps = {step.partition("(")[0] for row in result.results.rows for step in row.steps}
    assert steps == {"graph.optimize", "quantize.static"}


def test_a_fixed_batch_is_repaired_as_a_free_one_is(uneven: Path, tmp_path: Path) -> None:
    """The 128 samples that are looked at are no number of batches of 48."""
    model = onnx.load(uneven)
    inputs = [models.feeds(model, 48, seed=seed) for seed in range(4)]
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 48
    tried = []
    for path in (uneven, models.saved(model, tmp_path / "fixed.onnx")):
        calibration = Batches.of(inputs)
        store, source = Store(tmp_path / path.stem), Built(path, path.stem)
        recipe = Recipe(name="int8", steps=(Step(technique="quantize.static"),))
        built = run(recipe, source, Context(calibration=calibration), store)
        first = next(repairs(recipe, built, source, calibration, store))
        assert any("hold the range" in why for why in first.why)
        tried.append([step.technique for step in first.recipe.steps])
    assert tried[0] == tried[1] == ["quantize.smooth", "quantize.static"]


def test_a_step_before_quantization_is_told_what_follows() -> None:
    def told(technique: str, following: str, **config: Any) -> dict[str, Any]:
        step = Step(technique=following, config=config)
        recipe = Recipe(name="r", steps=(Step(technique="graph.optimize"), step))
        return _scaling(technique, recipe).config

    four = {"weight_bits": 4, "rounding": "learned"}
    assert told("quantize.equalize", "quantize.static", **four) == {"weight_bits": 4}
    assert told("quantize.smooth", "quantize.static", **four) == {"weight_bits": 4}
    assert told("quantize.equalize", "quantize.static") == {}
    assert told("quantize.smooth", "quantize.dynamic") == {"before": "quantize.dynamic"}


def test_layers_are_kept_float_by_name_whatever_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's scopes have brackets, which a glob takes for a set of letters."""
    model = models.mlp()
    names = ["/layers[0]/fc*", "/layers[1]/fc?"]
    layers = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    for node, name in zip(layers, names, strict=True):
        node.name = name
    original = models.saved(model, tmp_path / "model.onnx")
    calibration = Batches.of([models.feeds(model, 16, seed=seed) for seed in range(2)])
    store, source = Store(tmp_path / "store"), Built(original, "source")
    context = Context(calibration=calibration)
    recipe = Recipe(name="int8", steps=(Step(technique="quantize.static"),))
    built = run(recipe, source, context, store)
    tries = list(repairs(recipe, built, source, calibration, store))
    last = tries[-1].recipe
    assert sorted(last.steps[-1].config["keep_float"]) == [
        "/layers[[]0]/fc[*]",
        "/layers[[]1]/fc[?]",
    ]
    # All of its layers: nothing is left to quantize, which no glob that matches none would say.
    with pytest.raises(ModelError, match="nothing to quantize"):
        run(last, source, context, store)
    monkeypatch.setattr(module, "diagnose", lambda *_, **__: pytest.fail("it was kept"))
    assert [each.recipe for each in repairs(recipe, built, source, calibration, store)] == [
        each.recipe for each in tries
    ]
