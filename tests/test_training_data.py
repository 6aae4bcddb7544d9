from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.model import TensorSpec
from lissom.task import Task
from lissom.training_data import TrainingData, code_of, seeded

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = np.arange(40) % 4
SPEC = TensorSpec("x", "float32", ("batch", 3))


def batches():
    return [(X[:20], Y[:20]), (X[20:], Y[20:])]


@pytest.mark.parametrize(
    ("data", "rows", "labelled"),
    [
        ((X, Y), 40, True),
        (({"x": X}, Y), 40, True),
        (X, 40, False),
        ({"x": X}, 40, False),
        (batches(), None, True),
        (lambda: iter(batches()), None, True),
        ([X, X], None, False),
    ],
)
def test_the_forms_it_takes(data, rows, labelled):
    task = Task(train=data)
    assert task.train.rows == rows
    assert task.train.labelled is labelled
    assert task.check([SPEC]) == ()
    seen = list(task.bind(["x"]).train.look())
    assert sum(len(batch["x"]) for batch, _ in seen) in (40, 80)
    assert all((targets is not None) is labelled for _, targets in seen)


def test_a_dataset_is_shuffled_and_cut():
    torch = pytest.importorskip("torch")
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    train = Task(train=pairs, batch_size=8).bind(["x"]).train
    sizes = [len(targets) for _, targets in train.look()]
    assert sizes == [8] * 5
    order = np.concatenate([targets for _, targets in train.look()])
    assert sorted(order) == sorted(Y)
    assert order.tolist() != Y.tolist()
    assert train.repeats()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"train": (X, Y[:3])}, "40 rows and there are 3 targets"),
        ({"train": (x for x in [X])}, "only once"),
        ({"train": []}, "no samples"),
        ({"train": (X, Y), "loss": "mse"}, "not a function"),
        ({"calibration": X, "loss": print}, "no training data"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(arguments, says):
    with pytest.raises(TaskError, match=says):
        Task(**arguments)


@pytest.mark.parametrize(
    ("train", "says", "where"),
    [
        (({"y": X}, Y), "'y' is not an input", "train, batch 0"),
        ((X.astype(np.float64), Y), "float64", "train, batch 0"),
        ([(X, Y), (X * np.nan, Y)], "NaN", "train, batch 1, row 0"),
        ((np.concatenate([np.zeros((2000, 3), np.float32), X * np.inf]), np.zeros(2040)), "NaN|inf",
         "train, batch 1, row 976"),
    ],
)  # fmt: skip
def test_check_finds_the_mistake_and_names_the_batch(train, says, where):
    with pytest.raises(TaskError, match=says) as error:
        Task(train=train).check([SPEC])
    assert error.value.where == where


def test_rows_that_fill_no_fixed_batch_are_left_out():
    assert Task(train=(X, Y)).check([TensorSpec("x", "float32", (16, 3))]) == ()


def test_an_order_that_cannot_be_repeated_is_a_warning():
    own = np.random.default_rng()
    (warning,) = Task(train=lambda: iter([(own.permutation(X), Y)])).check([SPEC])
    assert "differ from pass to pass" in warning
    assert Task(train=lambda: iter([(np.random.permutation(X), Y)])).check([SPEC]) == ()


def test_the_digest_covers_training_data_and_loss():
    def one(outputs, targets):
        return outputs.sum()

    def other(outputs, targets):
        return outputs.mean()

    digests = [
        Task(**arguments).digest()
        for arguments in (
            {"validation": (X, Y)},
            {"validation": (X, Y), "train": (X, Y)},
            {"validation": (X, Y), "train": (X, Y + 1)},
            {"validation": (X, Y), "train": X},
            {"validation": (X, Y), "train": (X, Y), "loss": one},
            {"validation": (X, Y), "train": (X, Y), "loss": other},
            {"train": batches()},
            {"train": batches()[:1]},
            {"train": batches(), "train_digest": "v2"},
        )
    ]
    assert len(set(digests)) == len(digests)
    assert Task(train=lambda: iter(batches())).digest() == Task(train=lambda: batches()).digest()


def test_another_metric_keeps_what_is_learnt_from():
    task = Task(validation=(X, Y), train=(X, Y), loss=max).judged_by("f1")
    assert task.train.rows == 40
    assert task.loss is max


def test_code_tells_settings_apart():
    def loss(weight, outputs, targets):
        return weight

    assert code_of(partial(loss, 1)) != code_of(partial(loss, 2))
    torch = pytest.importorskip("torch")
    smooth, plain = (torch.nn.CrossEntropyLoss(label_smoothing=s) for s in (0.1, 0.0))
    assert code_of(smooth) == code_of(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    assert code_of(smooth) != code_of(plain)
    weighted = [torch.nn.CrossEntropyLoss(weight=torch.full((3,), w)) for w in (1.0, 2.0, 1.0)]
    assert code_of(weighted[0]) == code_of(weighted[2])
    assert len({code_of(each) for each in (*weighted, plain)}) == 3


def test_code_is_the_same_in_every_process():
    class Weighted:
        def __init__(self, weights):
            self.weights, self.seen = weights, object()

        def __call__(self, outputs, targets):
            return outputs.sum()

    many = np.arange(5000)
    assert code_of(Weighted(many)) == code_of(Weighted(many.copy()))
    assert code_of(Weighted(many)) != code_of(Weighted(np.where(many == 2500, 0, many)))


def test_seeding_leaves_the_generators_as_they_were():
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3)
    np.random.seed(3)
    with seeded(7):
        first = random.random(), np.random.random()
    assert (random.random(), np.random.random()) == expected
    with seeded(7):
        assert (random.random(), np.random.random()) == first


def test_values_are_told_from_classes():
    assert TrainingData.of((X, X[:, 0])).of_values
    assert not TrainingData.of((X, Y)).of_values
    assert TrainingData.of([(X, X[:, 0])]).of_values
    assert not TrainingData.of(X).of_values
