from __future__ import annotations

import numpy as np
import pytest

from lissom.batches import Batches
from lissom.errors import TaskError
from lissom.labelled import Labelled, batch_rows

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)
PARTS = (slice(0, 4), slice(4, 8), slice(8, 10))


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        ({"x": X}, Y.tolist()),
        ((X,), Y),
        [(X[part], Y[part]) for part in PARTS],
        [[{"x": X[part]}, Y[part]] for part in PARTS],
        [((X[part],), Y[part]) for part in PARTS],
        lambda: ((X[part], Y[part]) for part in PARTS),
        ([X[part] for part in PARTS], Y),
        ([{"x": X[part]} for part in PARTS], [Y[part] for part in PARTS]),
    ],
)
def test_every_form_with_targets_gives_the_same_batches(data):
    labelled = Labelled.of(data, batch_size=4).bind(["x"])
    assert labelled.labelled
    for _ in range(2):
        given = list(labelled)
        assert [batch["x"].shape for batch, _ in given] == [(4, 2), (4, 2), (2, 2)]
        np.testing.assert_array_equal(np.concatenate([batch["x"] for batch, _ in given]), X)
        np.testing.assert_array_equal(np.concatenate([targets for _, targets in given]), Y)
    assert labelled.digest() == Labelled.of(({"x": X}, Y), batch_size=4).digest()


@pytest.mark.parametrize(
    "data", [{"x": X}, X, [X], [{"x": X}], lambda: iter([X]), (X, None), Batches.of([X])]
)
def test_inputs_alone_are_label_free(data):
    labelled = Labelled.of(data).bind(["x"])
    assert not labelled.labelled
    ((batch, targets),) = labelled
    np.testing.assert_array_equal(batch["x"], X)
    assert targets is None


def test_pairs_keep_their_members_together_when_whole_arrays_are_cut():
    first, second, scores = X[:5], X[5:], np.arange(5.0)
    labelled = Labelled.of((np.concatenate([first, second]), scores), rows=2, batch_size=4)
    seen = [(batch["x"], targets) for batch, targets in labelled.bind(["x"])]
    assert [len(targets) for _, targets in seen] == [2, 2, 1]
    for at, (rows, _) in zip((0, 2, 4), seen, strict=True):
        half = len(rows) // 2
        np.testing.assert_array_equal(rows[:half], first[at : at + 2])
        np.testing.assert_array_equal(rows[half:], second[at : at + 2])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((X, Y[:7]), "10 rows and there are 7 targets"),
        ((X, 3), "10 rows and there are 1 targets"),
        ((X, Y, Y), "a tuple of 3"),
        ([(X, X, Y)], "a tuple of 3; it must be"),
        ([], "no samples"),
        (((X[:1], Y[:1]) for _ in range(2)), "only once"),
    ],
)
def test_what_does_not_belong_together_is_refused_at_once(data, says):
    with pytest.raises(TaskError, match=says):
        Labelled.of(data)


@pytest.mark.parametrize(
    "data",
    [
        ([X[:4], X[4:]], Y[:7]),
        ([X[:4], X[4:]], np.arange(11)),
        ([X[:4], X[4:]], [Y]),
        ([X], [Y, Y]),
        [(X, Y), X],
    ],
)
def test_what_does_not_belong_together_is_refused_when_read(data):
    with pytest.raises(TaskError):
        list(Labelled.of(data).bind(["x"]))


def test_the_digest_covers_the_targets():
    digests = {
        Labelled.of(data).digest() for data in [(X, Y), (X, Y + 1), (X, Y.astype(np.int32)), X]
    }
    assert len(digests) == 4


def test_a_torch_loader_of_pairs_is_recognised():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    labelled = Labelled.of(torch.utils.data.DataLoader(data, batch_size=5)).bind(["x"])
    assert labelled.labelled
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in labelled]), Y)


@pytest.mark.parametrize("key", ["labels", "target"])
def test_targets_inside_dicts_are_found(key):
    x, y = np.arange(12.0).reshape(6, 2), np.arange(6)
    batches = [{"x": x[:4], key: y[:4]}, {"x": x[4:], key: y[4:]}]
    for data in (batches, {"x": x, key: y}, lambda: iter(batches)):
        found = Labelled.of(data)
        assert found.labelled
        inputs, targets = zip(*found, strict=True)
        assert all(set(batch) == {"x"} for batch in inputs)
        np.testing.assert_array_equal(np.concatenate(targets), y)
    assert not Labelled.of([{key: y}]).labelled, "the only array of a model that is fed with it"
    with pytest.raises(TaskError, match=f"the batch has no '{key}', as the first one has") as error:
        list(Labelled.of([batches[0], {"x": x}]))
    assert error.value.where == "validation, batch 1"


def test_what_has_no_rows_of_its_own_does_not_count_them():
    x = np.zeros((64, 3), np.float32)
    assert batch_rows({"alpha": np.array(1.0), "x": x}) == 64
    assert batch_rows({"alpha": np.ones(1, np.float32), "x": x}) == 64
    assert batch_rows({"x": x[:1]}) == batch_rows({"alpha": np.array(1.0)}) == 1
    assert batch_rows({"x": x[:0]}) == 0
