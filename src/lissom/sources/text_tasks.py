"""Tasks from text files: tokenised batch by batch on every pass, so that memory stays small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lissom.arrays import Array, Batch
from lissom.batches import Batches
from lissom.errors import TaskError
from lissom.labelled import Labelled
from lissom.metric import Metric
from lissom.metrics import IGNORED, METRICS, default_metric
from lissom.sources.split import CALIBRATION, fixed_batch, hold_out, whole_batches
from lissom.sources.text_files import read_pairs, read_texts
from lissom.sources.tokens import SPARE, Tokens
from lissom.task import Task

MakeSample: TypeAlias = "Callable[[Array], tuple[Batch, Array | None]]"


def text_task(
    path: Path, tokens: Tokens, metric: Metric | None, batch_size: int, name: str
) -> Task:
    """A task of single texts, with labels if the file has them.

    Perplexity needs no labels here: a text's own next tokens are its targets.

    Raises:
        TaskError: the file is not as it must be, or the metric does not go with it.
    """
    texts, labels = read_texts(path)
    return task_of_texts(texts, labels, tokens, metric, batch_size, name)


def task_of_texts(
    texts: Sequence[str],
    labels: Array | None,
    tokens: Tokens,
    metric: Metric | None,
    batch_size: int,
    name: str,
    notes: Sequence[str] = (),
) -> Task:
    """A task of single texts, some of which calibrate while the others judge.

    Raises:
        TaskError: the metric does not go with the labels, or there are too few texts.
    """
    next_tokens = metric is not None and metric.name == "perplexity"
    if metric is None:
        metric = METRICS[default_metric(labels)]

    def sample(rows: Array) -> tuple[Batch, Array | None]:
        batch = tokens([texts[row] for row in rows])
        if next_tokens:
            return batch, following(batch)
        return batch, None if labels is None else labels[rows]

    size = fixed_batch(tokens.specs)
    calibration, validation = hold_out(len(texts))
    return Task(
        calibration=_calibration([texts[row] for row in calibration], tokens, batch_size),
        validation=_validation(
            sample,
            whole_batches(validation, size),
            size or batch_size,
            labelled=labels is not None or next_tokens,
        ),
        metric=metric,
        name=name,
        notes=notes,
    )


def pairs_task(
    path: Path, tokens: Tokens, metric: Metric | None, batch_size: int, name: str
) -> Task:
    """A task of sentence pairs whose similarity is scored: Spearman of cosines and scores.

    Raises:
        TaskError: the file is not as it must be, the metric does not go with it, or the model
            takes one text at a time.
    """
    return task_of_pairs(*read_pairs(path), tokens, metric, batch_size, name, str(path))


def task_of_pairs(
    first: Sequence[str],
    second: Sequence[str],
    scores: Array,
    tokens: Tokens,
    metric: Metric | None,
    batch_size: int,
    name: str,
    where: str,
    notes: Sequence[str] = (),
) -> Task:
    """A task of scored pairs, some of which calibrate while the others judge.

    Raises:
        TaskError: the metric does not go with pairs, or the model takes one text at a time.
    """
    metric = metric or METRICS["spearman"]
    if metric.needs_labels and metric.rows != 2:
        free = ", ".join(each.name for each in METRICS.values() if not each.needs_labels)
        raise TaskError(
            f"the metric {metric.name!r} does not go with scored pairs",
            where=where,
            fix=f"use spearman, or without the scores: {free}",
        )
    size = fixed_batch(tokens.specs)
    if size is not None and size % 2:
        raise TaskError(
            f"the model takes batches of exactly {size}, and a pair needs two rows of one batch",
            fix="export the model with a dynamic batch axis",
        )
    pairs_of_batch = size // 2 if size else max(1, batch_size // 2)

    def sample(rows: Array) -> tuple[Batch, Array | None]:
        batch = tokens([first[row] for row in rows] + [second[row] for row in rows])
        return batch, scores[rows] if metric.needs_labels else None

    calibration, validation = hold_out(len(first), CALIBRATION // 2)
    texts = [sentences[row] for row in calibration for sentences in (first, second)]
    return Task(
        calibration=_calibration(texts, tokens, batch_size),
        validation=_validation(
            sample,
            whole_batches(validation, pairs_of_batch if size else None),
            pairs_of_batch,
            labelled=metric.needs_labels,
        ),
        metric=metric,
        name=name,
        notes=notes,
    )


def following(batch: Batch) -> Array:
    """The token after each one (texts, length) int64; -100 where there is none to predict."""
    ids = batch["input_ids"].astype(np.int64)
    targets = np.full_like(ids, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    if "attention_mask" in batch:
        mask = batch["attention_mask"].astype(bool)
        targets[:, :-1][~(mask[:, 1:] & mask[:, :-1])] = IGNORED
    return targets


def _calibration(texts: Sequence[str], tokens: Tokens, batch_size: int) -> Batches:
    size = fixed_batch(tokens.specs)
    kept = whole_batches(np.arange(len(texts)), size)
    starts = range(0, len(kept), size or batch_size)
    return Batches(
        lambda: (tokens([texts[row] for row in kept[at : at + starts.step]]) for at in starts),
        len(starts),
        spare=SPARE,
    )


def _validation(sample: MakeSample, rows: Array, size: int, *, labelled: bool) -> Labelled:
    starts = range(0, len(rows), size)

    def restart() -> Iterator[tuple[Batch, Array | None]]:
        return (sample(rows[at : at + size]) for at in starts)

    return Labelled(restart, labelled, len(starts), spare=SPARE)
