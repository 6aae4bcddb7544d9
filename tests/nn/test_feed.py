from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lissom.errors import TaskError  # noqa: E402
from lissom.nn.feed import Feed, tensor_of  # noqa: E402
from lissom.nn.place import Place  # noqa: E402
from lissom.training_data import TrainingData  # noqa: E402

CPU = torch.device("cpu")
X = np.arange(20, dtype=np.float32)[:, None]
Y = np.arange(20)


def feed(size=6, place=Place(CPU), seed=0, **more):  # noqa: B008
    return Feed(TrainingData.of((X, Y)).bind(["x"]), size, place=place, seed=seed, **more)


def rows(batches):
    return [batch.targets.tolist() for batch in batches]


def together(batches):
    return [row for batch in rows(batches) for row in batch]


def test_whole_arrays_are_shuffled_and_rows_stay_together():
    batches = list(feed(beside={"taught": X * 2}).epoch(0))
    assert [len(batch.targets) for batch in batches] == [6, 6, 6]
    seen = together(batches)
    assert len(set(seen)) == 18
    assert seen != sorted(seen)
    for batch in batches:
        assert torch.equal(batch.inputs["x"][:, 0], batch.targets.float())
        assert torch.equal(batch.inputs["taught"], batch.inputs["x"] * 2)


def test_the_order_is_decided_by_seed_and_epoch():
    assert rows(feed().epoch(1)) == rows(feed().epoch(1))
    assert rows(feed().epoch(1)) != rows(feed().epoch(2))
    assert rows(feed(seed=1).epoch(1)) != rows(feed().epoch(1))
    assert rows(feed().epoch(1, skip=2)) == rows(feed().epoch(1))[2:]


def test_few_rows_make_one_batch():
    assert rows(feed(64).epoch(0))[0] != []
    assert feed(64).count == 1


def test_processes_share_the_rows():
    parts = [together(feed(5, Place(CPU, None, rank, 2)).epoch(0)) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == list(range(20))
    with pytest.raises(TaskError, match="fewer than the 30 processes"):
        feed(5, Place(CPU, None, 0, 30))


def test_a_sampler_is_told_the_epoch():
    class Sampler(torch.utils.data.SequentialSampler):
        told = -1

        def set_epoch(self, epoch):
            self.told = epoch

    sampler = Sampler(range(20))
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(pairs, 5, sampler=sampler)
    stream = Feed(TrainingData.of(loader).bind(["x"]), 1, place=Place(CPU))
    assert rows(stream.epoch(3)) == Y.reshape(4, 5).tolist()
    assert sampler.told == 3
    assert stream.count == 4


def test_arrays_that_torch_cannot_share_are_copied_or_refused():
    assert tensor_of(X[::-1], "x")[0] == 19
    assert tensor_of(X.astype(">f4"), "x")[1] == 1
    frozen = X.copy()
    frozen.flags.writeable = False
    assert tensor_of(frozen, "x")[2] == 2
    with pytest.raises(TaskError, match="no tensors of complex256"):
        tensor_of(X.astype(np.clongdouble), "x")
