from __future__ import annotations

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.metrics import METRICS
from lissom.model import TensorSpec
from lissom.sources.text_tasks import following, pairs_task, text_task
from lissom.sources.tokens import open_tokens


@pytest.fixture
def written(tmp_path):
    def write(*lines):
        path = tmp_path / "data.tsv"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def specs(*names, shape=("batch", "length")):
    return tuple(TensorSpec(name, "int64", shape) for name in names)


def pairs_file(written, number=40):
    rows = [f"{i / 10}\t{'abcde'[i % 5]}\t{'a ' * (i + 1)}" for i in range(number)]
    return written("score\tsentence1\tsentence2", *rows)


def test_pairs_stand_in_two_halves_beside_their_scores(encoder, written):
    task = pairs_task(pairs_file(written), open_tokens(encoder, None), None, 8, "pairs")
    assert task.metric is METRICS["spearman"]
    samples = list(task.samples())
    assert sum(len(scores) for _, scores in samples) == 30
    for batch, scores in samples:
        indices = np.rint(scores * 10).astype(int)
        half = len(scores)
        assert half <= 4
        np.testing.assert_array_equal(batch["input_ids"][:half, 1], 4 + indices % 5)
        np.testing.assert_array_equal(batch["attention_mask"][half:].sum(1), indices + 3)
    seen = np.rint(np.concatenate([scores for _, scores in samples]) * 10)
    lengths = np.concatenate([b["attention_mask"].sum(1)[1::2] - 3 for b in task.calibration])
    assert set(lengths) | set(seen) == set(range(40))
    assert not set(lengths) & set(seen)


def test_two_passes_and_two_readings_give_the_same_bytes(encoder, written):
    path = pairs_file(written)
    tokens = open_tokens(encoder, None)
    tasks = [pairs_task(path, tokens, None, 8, "pairs") for _ in range(2)]
    assert tasks[0].digest() == tasks[1].digest()
    inputs = specs("input_ids", "attention_mask")
    assert tasks[0].check(inputs) == ()
    bound = tasks[0].bind([spec.name for spec in inputs])
    assert list(next(iter(bound.samples()))[0]) == ["input_ids", "attention_mask"]


def test_nothing_is_tokenised_before_it_is_read(encoder, written):
    calls = []
    tokens = open_tokens(encoder, None)

    def counting(texts):
        calls.append(len(texts))
        return tokens(texts)

    counting.specs = None
    task = text_task(written(*"abcde" * 20), counting, METRICS["cosine"], 8, "text")
    before = len(calls)
    next(iter(task.samples()))
    assert calls[before:] == [8]
    assert max(calls) == 8


def test_pairs_without_their_scores_are_fidelity(encoder, written):
    tokens = open_tokens(encoder, None)
    task = pairs_task(pairs_file(written), tokens, METRICS["cosine"], 8, "pairs")
    assert task.fidelity
    with pytest.raises(TaskError, match="does not go with scored pairs"):
        pairs_task(pairs_file(written), tokens, METRICS["accuracy"], 8, "pairs")


def test_pairs_need_an_even_batch(encoder, written):
    tokens = open_tokens(encoder, specs("input_ids", shape=(1, "length")))
    with pytest.raises(TaskError, match="two rows"):
        pairs_task(pairs_file(written), tokens, None, 8, "pairs")
    inputs = specs("input_ids", shape=(6, "length"))
    task = pairs_task(pairs_file(written), open_tokens(encoder, inputs), None, 8, "pairs")
    task.check(inputs)
    assert {len(scores) for _, scores in task.samples()} == {3}


def test_labels_choose_the_metric(encoder, written):
    tokens = open_tokens(encoder, None)
    rows = [f"a b\t{i % 2}" for i in range(8)]
    task = text_task(written("sentence\tlabel", *rows), tokens, None, 4, "text")
    assert task.metric is METRICS["accuracy"]
    assert sum(len(labels) for _, labels in task.samples()) == 6
    task = text_task(written(*"abcdefgh"), tokens, None, 4, "text")
    assert task.fidelity
    with pytest.raises(TaskError, match="needs labels"):
        text_task(written(*"abcdefgh"), tokens, METRICS["accuracy"], 4, "text")


def test_perplexity_takes_the_next_tokens_for_targets(encoder, written):
    tokens = open_tokens(encoder, None)
    task = text_task(written("a b", "c", "d e", "a"), tokens, METRICS["perplexity"], 4, "text")
    assert not task.fidelity
    ((batch, targets),) = task.samples()
    np.testing.assert_array_equal(targets, following(batch))
    np.testing.assert_array_equal(
        following(tokens(["a b", "c"])), [[4, 5, 3, -100], [6, 3, -100, -100]]
    )
