"""Quality is the metric on both files, paired, with a drop that is positive when worse."""

import numpy as np
import onnx
import pytest
from onnx import helper

import lissom.measurement.quality as quality
from lissom.errors import RunError, TaskError
from lissom.measurement.quality import judge, statistics_of
from lissom.metrics import METRICS, Metric
from lissom.task import Task
from tests import models
from tests.measurement.stacks import floats, graph_of

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(200, 16)).astype(np.float32)


def rows(path, inputs):
    import onnxruntime as ort

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.fixture
def noisy_onnx(tmp_path):
    """The MLP of the tests with its weights disturbed."""
    model = models.mlp()
    rng = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            spoiled = values + 0.3 * values.std() * rng.normal(size=values.shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(spoiled.astype(np.float32), tensor.name))
    path = tmp_path / "noisy.onnx"
    onnx.save(model, path)
    return path


def test_accuracy_of_the_labelling_model_and_of_a_worse_one(mlp_onnx, noisy_onnx):
    labels = rows(mlp_onnx, INPUTS).argmax(axis=1)
    task = Task(validation=(INPUTS, labels), metric="accuracy", batch_size=64)
    own, others = statistics_of(mlp_onnx, task), statistics_of(noisy_onnx, task)
    assert own.shape == others.shape == (200, 1)
    assert own.dtype == np.float64
    found = judge(task.metric, own, others, fidelity=task.fidelity)
    right = (rows(noisy_onnx, INPUTS).argmax(axis=1) == labels).mean()
    assert found.original.value == 1.0
    assert found.value.value == pytest.approx(right)
    assert found.drop.value == pytest.approx(1 - right)
    assert 0 < found.drop.low < found.drop.value < found.drop.high
    assert found.samples == 200
    assert not found.fidelity
    assert found == judge(task.metric, own, others, fidelity=task.fidelity)


def test_fidelity_compares_with_the_original_batch_by_batch(mlp_onnx, noisy_onnx):
    task = Task(validation=INPUTS, batch_size=64)
    own = statistics_of(mlp_onnx, task)
    others = statistics_of(noisy_onnx, task, original=mlp_onnx)
    a, b = rows(mlp_onnx, INPUTS), rows(noisy_onnx, INPUTS)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(own, 1.0)
    np.testing.assert_allclose(others[:, 0], cosines, atol=1e-5)
    found = judge(task.metric, own, others, fidelity=task.fidelity)
    assert found.fidelity
    assert found.drop.value == pytest.approx(1 - cosines.mean(), abs=1e-5)


def test_with_labels_the_original_is_not_run(mlp_onnx, noisy_onnx, monkeypatch):
    task = Task(validation=(INPUTS, np.zeros(200, int)), metric="accuracy")
    opened = []
    real = quality.opener()
    monkeypatch.setattr(
        quality, "opener", lambda runtime: lambda path, **k: opened.append(path) or real(path, **k)
    )
    statistics_of(noisy_onnx, task, original=mlp_onnx)
    assert opened == [noisy_onnx]


def test_drop_is_positive_for_a_worse_model_where_lower_is_better():
    errors = np.random.default_rng(0).random((100, 1))
    found = judge(METRICS["mse"], errors, errors + 0.5, fidelity=True)
    assert found.drop.value == pytest.approx(0.5)
    assert found.drop.low == pytest.approx(0.5)
    assert found.value.value - found.original.value == pytest.approx(0.5)


def test_spearman_is_that_of_scipy():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    scores = rng.random(150)
    first = np.stack([scores + 0.1 * rng.normal(size=150), scores], axis=1)
    second = np.stack([scores + 0.4 * rng.normal(size=150), scores], axis=1)
    found = judge(METRICS["spearman"], first, second, fidelity=False)
    wanted = [spearmanr(*table.T).statistic for table in (first, second)]
    assert (found.original.value, found.value.value) == pytest.approx(wanted)
    assert found.drop.low < wanted[0] - wanted[1] < found.drop.high
    assert found.drop.low > 0


def test_nan_in_an_output_names_file_and_output(tmp_path):
    model = graph_of(
        [helper.make_node("Log", ["x"], ["logits"])],
        [floats("x", "n", 16)],
        [floats("logits", "n", 16)],
        {},
    )
    path = tmp_path / "log.onnx"
    onnx.save(model, path)
    with pytest.raises(RunError, match=r"output 'logits' of log\.onnx contains NaN"):
        statistics_of(path, Task(validation=INPUTS))


def test_a_batch_that_cannot_be_run_is_an_error_with_its_shapes(mlp_onnx):
    with pytest.raises(RunError, match="on a batch") as error:
        statistics_of(mlp_onnx, Task(validation=INPUTS[:, :7]))
    assert "[32, 7]" in str(error.value)


def test_files_judged_on_different_samples_are_not_paired():
    with pytest.raises(TaskError, match="3 samples and the candidate on 4"):
        judge(METRICS["mse"], np.ones((3, 1)), np.ones((4, 1)), fidelity=True)
    with pytest.raises(TaskError, match="no metric"):
        judge(None, np.ones((3, 1)), np.ones((3, 1)), fidelity=True)


def test_a_task_to_calibrate_only_cannot_judge(mlp_onnx):
    with pytest.raises(TaskError, match="no validation"):
        statistics_of(mlp_onnx, Task(calibration=INPUTS))


def test_a_reduction_that_raises_shows_its_line():
    def broken(rows):
        return rows[:, 7].mean()

    metric = Metric("mine", lambda outputs, targets: outputs["y"], reduce=broken)
    with pytest.raises(TaskError, match="reduction of the metric 'mine' failed: IndexError") as e:
        judge(metric, np.ones((9, 1)), np.ones((9, 1)), fidelity=False)
    assert "in broken: return rows[:, 7].mean()" in e.value.where
