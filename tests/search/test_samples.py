"""How many calibration samples layers are fed with, and how much of them is held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lissom.batches import Batches
from lissom.onnx_file import inputs_of
from lissom.search import samples
from lissom.search.layer_errors import Original
from lissom.search.samples import are_enough, drawn_samples
from lissom.task import Task
from lissom.technique import Context
from tests import models
from tests.models import Array, node

FLOAT = 4


@pytest.fixture
def branches(tmp_path: Path) -> Path:
    """Two products one after the other, and a third beside them: `x a b + x c`."""
    weights = models.Weights(0)
    nodes = [
        node("MatMul", ["x", weights.draw("a", 16, 8, fan_in=16)], "narrow"),
        node("MatMul", ["narrow", weights.draw("b", 8, 20, fan_in=8)], "wide"),
        node("MatMul", ["x", weights.draw("c", 16, 20, fan_in=16)], "beside"),
        node("Add", ["wide", "beside"], "y"),
    ]
    inputs = [models.value("x", onnx.TensorProto.FLOAT, "batch", 16)]
    output = models.value("y", onnx.TensorProto.FLOAT, "batch", 20)
    network = models.build("branches", nodes, inputs, output, weights, 17)
    return models.saved(network, tmp_path / "branches.onnx")


def data(rows: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(0).normal(size=(rows, 16)).astype(np.float32)}


# The third product reads 16 numbers and gives 20, 20 go past it; outputs are 20 of two networks.
HELD = FLOAT * (16 + 20 + 20 + 2 * 20)


def test_what_is_held_is_of_the_layer_that_needs_most(branches: Path) -> None:
    assert Original.of(branches).held(data(1)) == HELD
    assert Original.of(branches).held(data(3)) == 3 * HELD


def drawn(path: Path, rows: int) -> list[int]:
    """Rows of the batches that are drawn, one format."""
    task = Task(calibration=data(rows))
    found = drawn_samples(Original.of(path), task, inputs_of(path), 128, 1, Context())
    return [len(batch["x"]) for batch in found]


def test_no_more_are_drawn_than_there_is_room_for(
    branches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is time for 3 runs for each of 3 layers by 9.5 of a format.
    assert sum(drawn(branches, 40)) == int(9 * 40 / 9.5)
    monkeypatch.setattr(samples, "MOST_BYTES", 20 * HELD)
    assert drawn(branches, 40) == [4] * 5
    monkeypatch.setattr(samples, "PIECE_BYTES", 3 * HELD)
    assert sum(drawn(branches, 40)) == 20
    assert max(drawn(branches, 40)) == 3
    # Eight are looked at however much they take, one at a time.
    monkeypatch.setattr(samples, "MOST_BYTES", HELD)
    monkeypatch.setattr(samples, "PIECE_BYTES", 1)
    assert drawn(branches, 40) == [1] * 8


def test_no_more_are_read_than_tell_whether_there_are_enough() -> None:
    def endless():
        while True:
            yield data(1)

    assert are_enough(Batches(endless))
    assert not are_enough(Batches(lambda: iter([data(4), data(3)])))
    assert are_enough(Batches(lambda: iter([data(4), data(4)])))
