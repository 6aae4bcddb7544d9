"""What a task cannot be judged by is told before anything is timed or built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lissom
from lissom.errors import LissomError, RunError, TaskError
from lissom.graph.capture import capture
from lissom.measurement import quality
from lissom.measurement.records import Settings
from lissom.measurement.rehearse import rehearse
from lissom.measurement.worker import Runner
from lissom.model import inputs_of, open_model, read_onnx
from lissom.search.side_by_side import side_by_side
from lissom.targets.named import opener
from lissom.task import Task

X = np.random.default_rng(0).normal(size=(80, 16)).astype(np.float32)
Y = np.arange(80) % 5
LATE = np.where(np.arange(80) == 70, 9, Y)


def refused(path: Path, **arguments: object) -> LissomError:
    task = Task(validation=(X, arguments.pop("targets", Y)), **arguments)
    with pytest.raises(LissomError) as error:
        task.check(inputs_of(path), classes=rehearse(path, task, inputs_of(path)))
    return error.value


def test_a_label_out_of_range_in_any_batch(mlp_onnx: Path) -> None:
    error = refused(mlp_onnx, targets=LATE)
    assert error.what == "the label 9 is outside the model's 5 classes, 0 to 4 (metric 'accuracy')"
    assert error.where == "validation, batch 2, row 6"
    assert error.fix == "number the classes from 0, in the order of the model's output"
    assert "the label -1 is outside" in refused(mlp_onnx, targets=Y - 1).what


def test_it_is_told_before_anything_is_timed(mlp_onnx: Path, monkeypatch) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("measured before the labels were looked at")

    monkeypatch.setattr("lissom.search.evaluate.time_alone", never)
    monkeypatch.setattr("lissom.search.side_by_side.measure", never)
    task = Task(calibration=X, validation=(X, LATE))
    with pytest.raises(TaskError, match="the label 9"):
        lissom.compress(mlp_onnx, task)
    with pytest.raises(TaskError, match="the label 9"):
        side_by_side(open_model(mlp_onnx), None, task, settings=Settings())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"metric": "mse", "targets": X[:, :3]}, "'mse' compares arrays of one shape"),
        ({"metric": "perplexity", "targets": np.ones((80, 3), int)}, "needs an output of shape"),
        ({"metric": "accuracy", "targets": Y.astype(float)}, "one integer label per sample"),
    ],
)
def test_a_metric_that_does_not_fit_the_outputs(mlp_onnx: Path, arguments, says) -> None:
    error = refused(mlp_onnx, **arguments)
    assert says in error.what
    assert error.where == "validation, batch 0"


def test_the_users_own_metric_shows_its_line(mlp_onnx: Path) -> None:
    def mine(outputs, targets):
        return outputs["probabilities"]

    error = refused(mlp_onnx, metric=lissom.Metric("mine", mine))
    assert error.what == "the metric 'mine' failed: KeyError: 'probabilities'"
    assert 'in mine: return outputs["probabilities"]' in error.where
    assert "metric.py" not in error.where


@pytest.fixture
def hungry(tmp_path: Path) -> Path:
    """A model that fills as many floats as its input says: 2^50 of them are in no machine."""
    one = onnx.numpy_helper.from_array(np.array([1], np.int64), "one")
    nodes = [
        helper.make_node("Reshape", ["x", "one"], ["n"]),
        helper.make_node("ConstantOfShape", ["n"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["y"], keepdims=0),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "hungry", [x], [y], [one])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "h.onnx")
    return tmp_path / "h.onnx"


TOO_MANY = {"x": np.array([2**50])}


def test_out_of_memory_names_the_batch_size(hungry: Path) -> None:
    with pytest.raises(RunError) as told:
        quality.run_batch(opener()(hungry), TOO_MANY, hungry)
    assert told.value.what == "there is not enough memory to run h.onnx on a batch of 1 rows"
    assert told.value.where == f"{hungry}, with x [1]"
    assert "--task images:FOLDER,batch=8" in told.value.fix
    with pytest.raises(RunError, match="not enough memory") as told:
        list(capture(read_onnx(hungry), ["y"], [TOO_MANY]))
    assert told.value.where == "the calibration data, with x [1]"
    assert "Task(..., batch_size=8)" in told.value.fix


def test_out_of_memory_in_a_timed_run_names_batch_and_shape(hungry: Path) -> None:
    with pytest.raises(LissomError, match="there is not enough memory to run the model") as told:
        Runner(str(hungry), TOO_MANY, 1).run()
    assert told.value.fix.startswith("lower --batch or --shape of the timed run")
