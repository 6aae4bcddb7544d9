from __future__ import annotations

import numpy as np
import pytest

from lissom.batches import Batches
from lissom.errors import TaskError

X = np.arange(20, dtype=np.float32).reshape(10, 2)


def shapes(batches):
    return [{name: array.shape for name, array in batch.items()} for batch in batches]


@pytest.mark.parametrize(
    "data",
    [
        {"x": X},
        [{"x": X[:4]}, {"x": X[4:8]}, {"x": X[8:]}],
        lambda: iter([{"x": X[:4]}, {"x": X[4:8]}, {"x": X[8:]}]),
        X,
        (X,),
        [X[:4], X[4:8], X[8:]],
        [(X[:4],), [X[4:8]], {"x": X[8:]}],
    ],
)
def test_every_form_gives_the_same_batches_on_every_pass(data):
    batches = Batches.of(data, ["x"], batch_size=4)
    for _ in range(2):
        given = list(batches)
        assert shapes(given) == [{"x": (4, 2)}, {"x": (4, 2)}, {"x": (2, 2)}]
        np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in given]), X)
    assert batches.digest() == Batches.of({"x": X}, batch_size=4).digest()


def test_the_number_of_batches_is_known_except_for_a_function():
    assert len(Batches.of({"x": X}, batch_size=4)) == 3
    assert len(Batches.of([X])) == 1
    stream = Batches.of(lambda: iter([X]))
    assert stream.count is None
    assert bool(stream)
    with pytest.raises(TypeError, match="not known"):
        len(stream)


@pytest.mark.parametrize(
    "data",
    [({"x": X} for _ in range(2)), map(np.asarray, [X]), iter([X])],
)
def test_what_can_be_read_once_is_refused_with_the_way_out(data):
    with pytest.raises(TaskError, match="only once") as error:
        Batches.of(data)
    assert "list(batches)" in error.value.fix


def test_a_function_that_gives_back_one_iterator_is_refused():
    used = iter([X, X])
    with pytest.raises(TaskError, match="same iterator"):
        Batches.of(lambda: used)


def test_a_function_with_arguments_is_refused():
    with pytest.raises(TaskError, match="without arguments"):
        Batches.of(lambda size: iter([X]))


def test_a_function_that_returns_no_iterator_is_refused():
    with pytest.raises(TaskError, match="returned float"):
        Batches.of(lambda: 1.0)


@pytest.mark.parametrize("data", [[], lambda: iter(()), {"x": X[:0]}, X[:0]])
def test_empty_data_are_refused(data):
    with pytest.raises(TaskError, match="calibration has no samples"):
        Batches.of(data, what="calibration")


@pytest.mark.parametrize("data", ["text:file", 3, Batches])
def test_other_objects_are_refused(data):
    with pytest.raises(TaskError, match="cannot read batches"):
        Batches.of(data)


def test_a_dataset_is_sent_to_a_loader():
    class Dataset:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return X[index]

    with pytest.raises(TaskError) as error:
        Batches.of(Dataset())
    assert "DataLoader" in error.value.fix


def test_arrays_without_names_say_so_until_they_are_bound():
    batches = Batches.of([(X, X + 1)])
    with pytest.raises(TaskError, match="no names"):
        next(iter(batches))
    bound = batches.bind(["first", "second"])
    np.testing.assert_array_equal(next(iter(bound))["second"], X + 1)
    np.testing.assert_array_equal(next(iter(bound.bind(["a", "b"])))["b"], X + 1)


def test_labels_left_in_calibration_are_recognised():
    batches = Batches.of([(X, np.ones(10))]).bind(["x"])
    with pytest.raises(TaskError, match=r"2 arrays where the model takes 1 input \(x\)") as error:
        next(iter(batches))
    assert "holds the labels" in error.value.fix


def test_spare_inputs_are_left_out_when_the_model_does_not_take_them():
    batches = Batches(lambda: iter([{"ids": X, "types": X}]), 1, spare=frozenset({"types"}))
    assert list(next(iter(batches.bind(["ids"])))) == ["ids"]
    assert list(next(iter(batches.bind(["ids", "types"])))) == ["ids", "types"]
    assert batches.bind(["ids"]).digest() != batches.bind(["ids", "types"]).digest()


def test_code_that_fails_while_reading_shows_its_own_line():
    def make():
        yield X
        raise KeyError("lost")

    batches = Batches.of(make)
    with pytest.raises(TaskError, match=r"reading the data failed: KeyError: 'lost'") as error:
        list(batches.bind(["x"]))
    assert "test_batches.py" in error.value.where
    assert 'raise KeyError("lost")' in error.value.where


def test_a_torch_loader_is_read_without_lissom_knowing_torch():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(X) * 2)
    batches = Batches.of(torch.utils.data.DataLoader(data, batch_size=4), ["a", "b"])
    assert len(batches) == 3
    assert shapes(batches)[2] == {"a": (2, 2), "b": (2, 2)}
    assert isinstance(next(iter(batches))["a"], np.ndarray)


def test_targets_inside_dicts_are_left_out_unless_the_model_takes_them():
    x, y = np.ones((4, 2), np.float32), np.arange(4)
    for data in ([{"x": x, "labels": y}], {"x": x, "labels": y}):
        (batch,) = Batches.of(data).bind(["x"])
        assert set(batch) == {"x"}
        (batch,) = Batches.of(data).bind(["x", "labels"])
        assert set(batch) == {"x", "labels"}
