"""Drawing validation samples: as many as asked, whole, each as likely, and the same again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lissom.onnx_file import TensorSpec
from lissom.search.subset import Subset, draw
from lissom.task import Task

X = TensorSpec("x", "float32", ("n", 3))


def numbered(samples: int, *, batch_size: int = 32) -> Task:
    """Samples whose inputs and label are their number."""
    numbers = np.arange(samples)
    inputs = np.repeat(numbers[:, None], 3, axis=1).astype(np.float32)
    task = Task(validation=({"x": inputs}, numbers), batch_size=batch_size, name="numbers")
    return task.bind(["x"])


def labels(subset: Subset) -> list[int]:
    return [int(label) for _, targets in subset.task.samples() for label in targets]  # type: ignore[union-attr]


def drawn(task: Task, most: int, inputs: Any = (X,), **options: Any) -> Subset:
    subset = draw(task, inputs, most, **options)
    assert subset is not None
    return subset


def test_as_many_as_asked_with_their_own_targets_and_the_metric() -> None:
    subset = drawn(numbered(200), 30)
    assert (subset.judged, subset.total) == (30, 200)
    found = labels(subset)
    assert len(set(found)) == 30
    assert found == sorted(found)
    for batch, targets in subset.task.samples():
        assert targets is not None
        assert len(targets) <= 32
        np.testing.assert_array_equal(batch["x"], np.repeat(targets[:, None], 3, axis=1))
    assert subset.task.metric is numbered(200).metric
    assert subset.task.description == "numbers"


def test_every_sample_is_as_likely_wherever_it_stands() -> None:
    task = numbered(100, batch_size=7)
    counts = np.zeros(100)
    for seed in range(200):
        counts[labels(drawn(task, 20, seed=seed))] += 1
    # 200 draws of a fifth: 40 expected, a standard deviation of 5.7.
    assert counts.min() > 40 - 5 * 5.7
    assert counts.max() < 40 + 5 * 5.7
    for tenth in counts.reshape(10, 10):
        assert abs(tenth.sum() - 400) < 5 * 5.7 * np.sqrt(10)


def test_the_same_seed_draws_the_same() -> None:
    first, again, other = (drawn(numbered(200), 30, seed=seed) for seed in (1, 1, 2))
    assert first.task.digest() == again.task.digest()
    assert labels(first) != labels(other)
    # Passes over the subset are alike too, which pairing of two files needs.
    assert labels(first) == labels(first)


def test_pairs_stay_together() -> None:
    first, second = np.arange(100), 1000 + np.arange(100)
    ids = np.concatenate([first, second]).astype(np.float32)[:, None].repeat(3, axis=1)
    task = Task(validation=({"x": ids}, np.arange(100.0)), metric="spearman", batch_size=16).bind(
        ["x"]
    )
    subset = drawn(task, 40)
    assert subset.judged == 40
    for batch, scores in subset.task.samples():
        assert scores is not None
        half = len(scores)
        np.testing.assert_array_equal(batch["x"][:half, 0], scores)
        np.testing.assert_array_equal(batch["x"][half:, 0], 1000 + scores)


def test_batches_of_several_widths_are_not_mixed() -> None:
    widths = (5, 5, 9, 4)
    batches = [{"x": np.full((8, width), index, np.float32)} for index, width in enumerate(widths)]
    spec = TensorSpec("x", "float32", ("n", "length"))
    subset = drawn(Task(validation=batches, metric="cosine").bind(["x"]), 20, (spec,))
    assert subset.task.fidelity
    found = [batch["x"] for batch, targets in subset.task.samples() if targets is None]
    assert sum(map(len, found)) == 20
    assert all(len(array) <= 8 for array in found)
    assert {(int(value), array.shape[1]) for array in found for value in array[:, 0]} <= set(
        enumerate(widths)
    )


@pytest.mark.parametrize("most", [50, 51])
def test_few_samples_are_all_judged(most: int) -> None:
    assert draw(numbered(50), (X,), most) is None


@pytest.mark.parametrize(
    "inputs",
    [
        (TensorSpec("x", "float32", (8, 3)),),
        (X, TensorSpec("rate", "int64", ())),
    ],
)
def test_a_model_whose_samples_cannot_be_taken_apart_is_judged_on_all(inputs: Any) -> None:
    assert draw(numbered(64), inputs, 10) is None


def test_an_input_whose_first_axis_is_another_is_judged_on_all() -> None:
    batches = [{"x": np.zeros((8, 3), np.float32), "state": np.zeros((2, 8), np.float32)}] * 9
    task = Task(validation=batches, metric="cosine").bind(["x", "state"])
    assert draw(task, (X, TensorSpec("state", "float32", ("two", "n"))), 10) is None


def test_memory_is_bounded() -> None:
    subset = drawn(numbered(200), 100, most_bytes=30 * 3 * 4)
    assert (subset.judged, subset.total) == (30, 200)
    # Fewer, and still from everywhere.
    assert labels(subset)[0] < 50
    assert labels(subset)[-1] > 150


def test_the_data_are_read_once() -> None:
    passes = []

    def stream() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        passes.append(1)
        for start in range(0, 80, 8):
            yield {"x": np.zeros((8, 3), np.float32)}, np.arange(start, start + 8)

    task = Task(validation=stream).bind(["x"])
    passes.clear()
    subset = drawn(task, 10)
    assert len(labels(subset)) == len(labels(subset)) == 10
    assert len(passes) == 1
