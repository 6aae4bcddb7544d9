"""The search: what it refuses, what it skips, what it allows and what it notes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lissom.errors import LissomError, ModelError, RequestError
from lissom.measurement.records import Settings
from lissom.metrics import Metric
from lissom.model import open_model
from lissom.recipe.store import Store
from lissom.search.budget import Budget
from lissom.search.explore import search
from lissom.search.ready import Found
from lissom.search.request import Request
from lissom.task import Task
from lissom.technique import TECHNIQUES
from tests import models
from tests.search.conftest import labelled

FEEDS = models.feeds(models.mlp(), 64)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def found(path: Path, store: Store, task: Task | None = None, **request: Any) -> Found:
    return search(open_model(path), task, Request(**request), store)


def names(result: Found) -> list[str]:
    return [row.name for row in result.results.rows]


@pytest.mark.parametrize(
    ("request_", "what", "near"),
    [
        ({"target": "onnxrutime"}, "unknown target 'onnxrutime'", "'onnxruntime'?"),
        ({"objective": "sise"}, "unknown objective 'sise'", "'size'?"),
        ({"techniques": ["quantise.static"]}, "unknown technique", "'quantize.static'?"),
        ({"techniques": "quantize.statics"}, "unknown technique", "'quantize.static'?"),
    ],
)
def test_unknown_names_offer_the_nearest(request_: Any, what: str, near: str) -> None:
    with pytest.raises(RequestError) as caught:
        Request(**request_)
    assert what in caught.value.what
    assert near in str(caught.value.fix)


@pytest.mark.parametrize(
    "settings",
    [{"batch": 0}, {"threads": -1}, {"processes": 0}, {"seconds": 0.0}, {"seconds": float("nan")}],
)
def test_settings_that_measure_nothing(settings: dict[str, float]) -> None:
    (name,) = settings
    with pytest.raises(RequestError, match=f"the settings ask for {name}="):
        Request(settings=Settings(**settings))  # type: ignore[arg-type]


def test_everything_that_makes_sense_is_built_and_the_rest_explained(
    mlp_onnx: Path, store: Store, instant: list[str]
) -> None:
    labels = labelled(mlp_onnx, FEEDS)
    task = Task(calibration=FEEDS, validation=(FEEDS, labels))
    result = found(mlp_onnx, store, task)
    assert names(result) == [
        "float32, optimized", "float16 storage", "int8 dynamic", "int8 static",
        "int8 static, 4-bit weights", "8-bit weights", "4-bit weights", "2-bit weights",
    ]  # fmt: skip
    assert [s.name for s in result.results.skipped] == [
        "int8 dynamic, 4-bit embeddings", "int8 static, learned",
    ]  # fmt: skip
    assert set(result.files) == set(names(result))
    assert all(row.measurement.quality is not None for row in result.results.rows)
    assert result.results.chosen is not None
    assert result.results.chosen.name in names(result)


def test_a_candidate_that_fails_is_skipped_and_the_others_go_on(
    mlp_onnx: Path, store: Store, instant: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Any, config: Any, context: Any) -> Any:
        raise ModelError("this layer is too wide")

    entry = dataclasses.replace(TECHNIQUES["quantize.dynamic"], apply=fail)
    monkeypatch.setitem(TECHNIQUES, "quantize.dynamic", entry)
    result = found(mlp_onnx, store)
    assert "int8 dynamic" not in names(result)
    assert "8-bit weights" in names(result)
    why = {each.name: each.why for each in result.results.skipped}
    assert why["int8 dynamic"] == "failed: this layer is too wide"


def test_weights_in_constant_nodes_are_seen(
    tmp_path: Path, store: Store, instant: list[str]
) -> None:
    model = models.mlp()
    for tensor in list(model.graph.initializer):
        node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        model.graph.node.insert(0, node)
    del model.graph.initializer[:]
    path = models.saved(model, tmp_path / "constants.onnx")
    assert "int8 dynamic" in names(found(path, store))


def test_nothing_to_compress(tmp_path: Path, store: Store) -> None:
    inputs = [models.value("x", 1, "n", 4)]
    nodes = [models.node("Relu", ["x"], "y")]
    model = models.build("relu", nodes, inputs, models.value("y", 1, "n", 4), models.Weights(0), 17)
    with pytest.raises(ModelError, match="nothing to compress: the model holds no weights"):
        found(models.saved(model, tmp_path / "relu.onnx"), store)


def test_trees_are_told_apart_from_a_model_without_anything_learnt(
    tmp_path: Path, store: Store
) -> None:
    many = 20
    tree = onnx.helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0] * many, nodes_nodeids=list(range(many)), nodes_featureids=[0] * many,
        nodes_values=[0.5] * many, nodes_modes=["BRANCH_LEQ"] * 9 + ["LEAF"] * 11,
        nodes_truenodeids=[*range(1, 18, 2), *[0] * 11],
        nodes_falsenodeids=[*range(2, 19, 2), *[0] * 11],
        target_treeids=[0], target_nodeids=[19], target_ids=[0], target_weights=[1.0],
    )  # fmt: skip
    inputs = [models.value("x", 1, "n", 4)]
    graph = onnx.helper.make_graph([tree], "tree", inputs, [models.value("y", 1, "n", 1)])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(ModelError, match="in the attributes of TreeEnsembleRegressor"):
        found(models.saved(model, tmp_path / "tree.onnx"), store)


def test_half_precision_is_widened_and_the_file_stays_what_is_compared_with(
    tmp_path: Path, store: Store, instant: list[str]
) -> None:
    model = models.mlp(hidden=256)
    for tensor in model.graph.initializer:
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    path = models.saved(model, tmp_path / "half.onnx")
    feeds = {name: array.astype(np.float16) for name, array in models.feeds(model, 8).items()}
    result = found(path, store, Task(calibration=feeds, validation=feeds, metric="cosine"))
    assert {"int8 dynamic", "int8 static", "4-bit weights"} <= set(names(result))
    rows = {row.name: row.measurement for row in result.results.rows}
    assert result.original.path == path
    assert result.results.original.measurement.footprint.bytes == path.stat().st_size
    assert rows["float32, optimized"].footprint.bytes > 1.8 * path.stat().st_size
    assert rows["int8 dynamic"].footprint.bytes < 0.9 * path.stat().st_size
    assert all(row.quality.value.value > 0.99 for name, row in rows.items() if "2-bit" not in name)
    assert any("widened from 16-bit floats" in note for note in result.results.notes)


@pytest.mark.parametrize(
    ("metric", "labels", "drop"),
    [("accuracy", True, "1pt"), ("cosine", False, "2pt"), ("mse", False, None)],
)
def test_the_drop_that_is_allowed_when_none_is_given(
    mlp_onnx: Path, store: Store, instant: list[str], metric: str, labels: bool, drop: str | None
) -> None:
    validation = (FEEDS, labelled(mlp_onnx, FEEDS)) if labels else FEEDS
    task = Task(validation=validation, metric=metric)
    result = found(mlp_onnx, store, task, techniques=["quantize.dynamic"]).results
    assert result.budget.get("drop") == drop
    words = f"{drop} was allowed" if drop else "No limit on the loss of quality"
    assert any(words in note for note in result.notes)
    assert any("fidelity" in note for note in result.notes) is not labels
    assert result.chosen is not None


def test_a_metric_of_ones_own_without_points_gets_a_relative_drop(
    mlp_onnx: Path, store: Store, instant: list[str]
) -> None:
    metric = Metric("mean logit", lambda outputs, _: outputs["logits"].max(1), needs_labels=True)
    task = Task(validation=(FEEDS, labelled(mlp_onnx, FEEDS)), metric=metric)
    assert found(mlp_onnx, store, task).results.budget == {"drop": "2%"}


@pytest.mark.parametrize(
    ("metric", "drop", "what"),
    [
        (None, "1pt", "no task that measures quality"),
        ("mse", "1pt", "has no meaning: this metric is not a share of one"),
        ("mse", "1%", "has no meaning: next to itself the original scores 0"),
    ],
)
def test_a_drop_that_cannot_be_judged_is_refused_before_any_work(
    mlp_onnx: Path, store: Store, instant: list[str], metric: str | None, drop: str, what: str
) -> None:
    task = Task(validation=FEEDS, metric=metric) if metric else None
    with pytest.raises(RequestError, match=what):
        found(mlp_onnx, store, task, budget=Budget(drop=drop))
    assert instant == []
    assert list(store.steps.iterdir()) == []


def test_without_a_task_quality_is_not_measured_and_said_so(
    mlp_onnx: Path, store: Store, instant: list[str]
) -> None:
    results = found(mlp_onnx, store).results
    assert all(row.measurement.quality is None for row in results.rows)
    assert "Quality is not measured: no task with validation data was given." in results.notes
    assert results.budget == {}


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (Settings(shapes={"imput": (1, 16)}), "unknown input 'imput'"),
        (Settings(shapes={"input": (1, 17)}), "axis 1 of 'input' cannot be 17"),
        (Settings(shapes={"input": (1, 16, 1)}), "has 3 axes"),
        (Settings(shapes={"input": (0, 16)}), "axis 0 of 'input' cannot be 0"),
    ],
)
def test_wrong_shapes_are_refused_before_any_work(
    mlp_onnx: Path, store: Store, instant: list[str], settings: Settings, what: str
) -> None:
    with pytest.raises(RequestError, match=what):
        found(mlp_onnx, store, settings=settings)
    assert list(store.steps.iterdir()) == []


def test_progress_counts_the_candidates(mlp_onnx: Path, store: Store, instant: list[str]) -> None:
    seen: list[tuple[str, int | None]] = []

    def track(items: Any, label: str, total: int | None = None) -> Any:
        seen.append((label, total))
        return iter(items)

    result = found(mlp_onnx, store, track=track)
    assert ("candidates", len(names(result))) in seen


def test_a_file_that_is_not_smaller_is_flagged(
    tmp_path: Path, store: Store, instant: list[str]
) -> None:
    path = models.saved(models.mlp(hidden=8), tmp_path / "small.onnx")
    rows = found(path, store, techniques=["quantize.dynamic"]).results.rows
    assert rows[0].measurement.footprint.bytes > path.stat().st_size
    assert rows[0].flags == ("not smaller than the original",)
    assert not rows[0].chosen


def test_the_original_is_never_among_the_files_or_changed(
    mlp_onnx: Path, store: Store, instant: list[str]
) -> None:
    before = mlp_onnx.read_bytes()
    result = found(mlp_onnx, store)
    assert mlp_onnx.read_bytes() == before
    assert mlp_onnx not in [built.path for built in result.files.values()]
    assert result.results.original.measurement.speed is None


def test_an_operator_the_runtime_lacks(tmp_path: Path, store: Store) -> None:
    model = models.mlp()
    model.graph.node[2].op_type, model.graph.node[2].domain = "Mystery", "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    path = models.saved(model, tmp_path / "custom.onnx")
    with pytest.raises(LissomError, match="Mystery") as caught:
        found(path, store)
    assert isinstance(caught.value, ModelError)
    assert "has no kernel for an operator of this model" in caught.value.what
    assert "com.example" in caught.value.what
    assert caught.value.where == str(path)
    assert "standard operators" in str(caught.value.fix)
    assert list(store.steps.iterdir()) == []
