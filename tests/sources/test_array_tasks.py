from __future__ import annotations

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.metrics import METRICS
from lissom.model import TensorSpec
from lissom.sources.array_tasks import array_task

X = np.arange(240, dtype=np.float32).reshape(80, 3)
Y = np.arange(80) % 5
SPEC = TensorSpec("x", "float32", ("batch", 3))


@pytest.fixture
def made(tmp_path):
    def make(arrays, specs=(SPEC,), metric=None, batch_size=16):
        np.savez(tmp_path / "data.npz", **arrays)
        return array_task(
            tmp_path / "data.npz", specs, metric and METRICS[metric], batch_size, "arrays:data.npz"
        )

    return make


def rows(batches):
    return np.concatenate([batch["x"] for batch in batches])


@pytest.mark.parametrize("name", ["labels", "targets"])
def test_a_quarter_calibrates_and_the_rest_judges(made, name):
    task = made({"x": X, name: Y})
    assert task.metric.name == "accuracy"
    assert task.check([SPEC]) == ()
    calibration, validation = rows(task.calibration), rows(b for b, _ in task.samples())
    assert len(calibration) == 20
    np.testing.assert_array_equal(np.unique(np.concatenate([calibration, validation])), X.ravel())
    targets = np.concatenate([targets for _, targets in task.samples()])
    np.testing.assert_array_equal(targets, Y[(validation[:, 0] // 3).astype(int)])


def test_without_labels_it_is_fidelity(made):
    task = made({"x": X})
    assert task.fidelity
    assert task.metric.name == "cosine"
    assert made({"x": X, "labels": Y}, metric="agreement").fidelity


def test_an_input_called_labels_stays_an_input(made):
    spec = TensorSpec("labels", "int64", ("batch",))
    task = made({"x": X, "labels": Y}, specs=(SPEC, spec))
    assert task.fidelity
    assert task.check([SPEC, spec]) == ()


def test_a_model_with_a_fixed_batch_gets_full_batches(made):
    fixed = TensorSpec("x", "float32", (16, 3))
    task = made({"x": X, "labels": Y}, specs=(fixed,), batch_size=32)
    task.check([fixed])
    assert [len(batch["x"]) for batch in task.calibration] == [16]
    assert [len(batch["x"]) for batch, _ in task.samples()] == [16, 16, 16]


def test_pairs_are_split_as_pairs(made):
    first, second, scores = X[:40], X[40:], np.arange(40.0)
    task = made({"x": np.concatenate([first, second]), "labels": scores}, metric="spearman")
    task.check([SPEC])
    assert len(rows(task.calibration)) == 20
    for batch, targets in task.samples():
        half = len(targets)
        np.testing.assert_array_equal(batch["x"][:half], first[targets.astype(int)])
        np.testing.assert_array_equal(batch["x"][half:], second[targets.astype(int)])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": X, "labels": Y[:9]}, "80 rows of inputs and 9 labels"),
        ({"x": X, "labels": Y, "targets": Y}, "labels and targets"),
        ({"labels": Y}, "no inputs"),
        ({"x": X[:0]}, "no samples"),
        ({"x": X, "y": Y[:3]}, "'x' has 80, 'y' has 3"),
    ],
)
def test_what_does_not_belong_together_is_refused(made, arrays, says):
    with pytest.raises(TaskError, match=says):
        made(arrays)


def test_the_row_of_the_file_is_named(made):
    """Validation is drawn: the row of a batch is not that of the file."""
    labels = Y.copy()
    labels[7] = 99
    with pytest.raises(TaskError, match="the label 99 is outside") as error:
        made({"x": X, "labels": labels}).check([SPEC], classes=5)
    assert error.value.where.endswith("data.npz, row 7")
    values = X.copy()
    values[41, 2] = np.nan
    with pytest.raises(TaskError, match="'x' contains NaN") as error:
        made({"x": values})
    assert error.value.where.endswith("data.npz, row 41")


@pytest.mark.parametrize(
    ("labels", "metric", "fix"),
    [(77, None, "one label for each row"), (80, "spearman", "160 rows; or choose a metric of")],
)
def test_labels_of_another_number_have_a_remedy(made, labels, metric, fix):
    with pytest.raises(TaskError, match="80 rows of inputs") as error:
        made({"x": X, "labels": np.zeros(labels, np.int64)}, metric=metric)
    assert fix in error.value.fix
