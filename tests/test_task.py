from __future__ import annotations

import numpy as np
import pytest

from lissom.errors import RequestError, TaskError
from lissom.metrics import METRICS, Metric
from lissom.model import TensorSpec
from lissom.task import Task

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = np.arange(40) % 4
SPEC = TensorSpec("x", "float32", ("batch", 3))


def test_the_form_of_the_readme():
    task = Task(calibration=[{"x": X + 1}], validation=({"x": X}, Y), metric="accuracy")
    assert task.metric is METRICS["accuracy"]
    assert not task.fidelity
    assert sum(len(targets) for _, targets in task.samples()) == 40
    assert task.check([SPEC]) == ()
    assert task.description == "accuracy on labelled data"


@pytest.mark.parametrize(
    ("validation", "metric"),
    [
        ((X, Y), "accuracy"),
        ((X, X[:, 0]), "mse"),
        (X, "cosine"),
        ([X], "cosine"),
    ],
)
def test_the_metric_goes_with_the_targets(validation, metric):
    assert Task(validation=validation).metric is METRICS[metric]


def test_a_function_is_no_metric():
    with pytest.raises(TaskError, match=r"the metric is 'function', not a lissom\.Metric") as error:
        Task(validation=(X, Y), metric=lambda outputs, targets: 1.0)
    assert 'lissom.Metric("name", statistics)' in error.value.fix


def test_a_label_out_of_range_is_found_by_its_row():
    labels = Y.copy()
    labels[35] = 77
    with pytest.raises(TaskError, match="the label 77 is outside") as error:
        Task(validation=(X, labels), batch_size=16).check([SPEC], classes=5)
    assert error.value.where == "validation, batch 2, row 3"


def test_without_labels_it_is_fidelity_and_called_so():
    task = Task(validation=X)
    assert task.fidelity
    assert "fidelity to the original (cosine)" in task.description
    assert all(targets is None for _, targets in task.bind(["x"]).samples())


def test_class_numbers_say_nothing_to_agreement():
    task = Task(validation=(X, Y), metric="agreement")
    assert task.fidelity
    assert not Task(validation=(X, X), metric="cosine").fidelity


def test_calibration_alone_has_no_metric():
    task = Task(calibration=X)
    assert task.metric is None
    assert task.validation is None
    assert not task.fidelity
    assert list(task.samples()) == []
    assert task.check([SPEC]) == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "without data"),
        ({"calibration": X, "metric": "accuracy"}, "no data to judge by"),
        ({"validation": X, "metric": "accuracy"}, "needs labels"),
        ({"validation": X, "metric": Metric("own", lambda o, t: t)}, "needs_labels=False"),
        ({"validation": (X, np.ones((40, 2), int))}, "name one: accuracy"),
        ({"calibration": X, "batch_size": 0}, "batch_size is 0"),
        ({"calibration": (x for x in [X])}, "only once"),
    ],
)
def test_a_task_that_cannot_be_is_refused_when_it_is_made(arguments, says):
    with pytest.raises(TaskError, match=says):
        Task(**arguments)


def test_an_unknown_metric_is_refused_when_the_task_is_made():
    with pytest.raises(RequestError, match="did you mean 'accuracy'"):
        Task(validation=(X, Y), metric="accuracy_")


def test_the_digest_covers_data_and_metric():
    digests = [
        task.digest()
        for task in (
            Task(calibration=X, validation=(X, Y)),
            Task(calibration=X + 1, validation=(X, Y)),
            Task(calibration=X, validation=(X + 1, Y)),
            Task(calibration=X, validation=(X, Y + 1)),
            Task(calibration=X, validation=(X, Y), metric="f1"),
            Task(calibration=X),
            Task(validation=X),
        )
    ]
    assert len(set(digests)) == len(digests)
    assert Task(calibration=X.copy(), validation=(X, Y), name="other").digest() == digests[0]


def test_bind_names_all_data_and_keeps_the_metric():
    task = Task(calibration=X, validation=(X, Y), metric="f1").bind(["x"])
    assert list(next(iter(task.calibration))) == ["x"]
    assert list(next(iter(task.samples()))[0]) == ["x"]
    assert task.metric is METRICS["f1"]


def test_another_metric_on_the_same_data():
    task = Task(calibration=X, validation=(X, Y), name="mine").judged_by("f1")
    assert task.metric is METRICS["f1"]
    assert task.description == "mine"
    with pytest.raises(TaskError, match="needs labels"):
        Task(validation=X).judged_by("f1")


def with_nan(at):
    data = [X.copy() for _ in range(3)]
    data[at][5, 1] = np.nan
    return data


@pytest.mark.parametrize(
    ("arguments", "says", "where"),
    [
        ({"calibration": with_nan(2)}, "NaN", "calibration, batch 2, row 5"),
        ({"validation": with_nan(1)}, "NaN", "validation, batch 1, row 5"),
        ({"validation": {"y": X}}, "'y' is not an input", "validation, batch 0"),
        ({"calibration": {"x": X.astype(np.float64)}}, "float64", "calibration, batch 0"),
        ({"validation": [(X, Y), (X, Y[:3])]}, "40 rows and 3 targets", "validation, batch 1"),
        ({"validation": [(X, 3)], "metric": "accuracy"}, "sample axis", "validation, batch 0"),
        (
            {"validation": [(X, X[:, 0] * np.nan)]},
            "'targets' contains NaN",
            "validation, batch 0, row 0",
        ),
        ({"validation": [X, X[:0]]}, "no rows", "validation, batch 1"),
    ],
)
def test_check_finds_the_mistake_and_names_the_batch(arguments, says, where):
    with pytest.raises(TaskError, match=says) as error:
        Task(**arguments).check([SPEC])
    assert error.value.where == where


def test_check_refuses_data_that_change_from_pass_to_pass():
    random = np.random.default_rng(1)
    with pytest.raises(TaskError, match="change from one pass to the next") as error:
        Task(calibration=lambda: iter([X[random.permutation(40)]])).check([SPEC])
    assert "shuffle=False" in error.value.fix
    with pytest.raises(TaskError, match="the validation data change"):
        Task(validation=lambda: iter([(X, random.permutation(Y))])).check([SPEC])


def test_pairs_have_two_rows_for_every_target():
    scores = np.arange(20.0)
    task = Task(validation=(X, scores), metric="spearman", batch_size=8)
    assert task.check([SPEC]) == (
        "validation has only 20 samples: the interval of the quality is wide",
    )
    with pytest.raises(TaskError, match="40 rows and 40 targets"):
        Task(validation=[(X, np.arange(40.0))], metric="spearman").check([SPEC])


def test_one_sample_is_a_warning():
    (warning,) = Task(validation=(X[:1], Y[:1])).check([SPEC])
    assert "one sample" in warning


def test_rows_are_counted_along_the_axis_that_is_free():
    fixed = TensorSpec("anchors", "float32", (2, 3))
    data = [({"anchors": X[:2], "x": X}, Y)]
    assert Task(validation=data).check([fixed, SPEC]) == ()


def test_the_digest_covers_the_code_of_a_metric():
    def one(outputs, targets):
        return np.ones(len(targets))

    def two(outputs, targets):
        return np.ones(len(targets)) * 2

    digests = [
        Task(validation=(X, Y), metric=Metric(name, code)).digest()
        for name, code in (("mine", one), ("mine", two), ("accuracy", one), ("mine", one))
    ]
    assert digests[0] == digests[3]
    assert len({*digests, Task(validation=(X, Y), metric="accuracy").digest()}) == 4


def test_the_digest_covers_all_that_judges():
    def one(outputs, targets):
        return np.ones(len(targets))

    def lowest(statistics):
        return float(statistics.min())

    metrics = [
        Metric("mine", one),
        Metric("mine", one, lowest),
        Metric("mine", one, higher_is_better=False),
        Metric("mine", one, bounded=True),
        Metric("mine", one, rows=2),
    ]
    digests = {Task(validation=(X, Y[: len(X) // m.rows]), metric=m).digest() for m in metrics}
    assert len(digests) == len(metrics)


def test_one_hot_targets_are_told_apart_from_values() -> None:
    with pytest.raises(TaskError, match="one-hot") as caught:
        Task(validation=(np.zeros((6, 3), np.float32), np.eye(3)[[0, 1, 2, 0, 1, 2]]))
    assert "argmax" in (caught.value.fix or "")
