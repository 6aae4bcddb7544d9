"""A random subset of the validation samples, for a search that is to be quick."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from lissom.arrays import Array, Batch
from lissom.labelled import Labelled, batch_rows
from lissom.onnx_file import TensorSpec
from lissom.task import Task
from lissom.technique import Track, silent

# The subset is kept in memory, so that pictures are not read again for every candidate.
MOST_BYTES = 2**29


@dataclass(frozen=True)
class Subset:
    """A task that judges by `judged` of the `total` validation samples of another."""

    task: Task
    judged: int
    total: int


@dataclass(frozen=True)
class _Sample:
    """Inputs (rows of one sample, ...) and targets (1, ...) of one sample."""

    index: int
    inputs: Batch
    targets: Array | None

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self.inputs.values())

    @property
    def form(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """What must agree for two samples to stand in one batch."""
        return [(name, str(a.dtype), a.shape) for name, a in self.inputs.items()]


def draw(
    task: Task,
    inputs: Sequence[TensorSpec],
    most: int,
    *,
    seed: int = 0,
    most_bytes: int = MOST_BYTES,
    track: Track = silent,
) -> Subset | None:
    """At most `most` validation samples, each as likely as any other; None judges on all.

    Every sample gets a random number and those with the smallest are kept (Vitter, Random Sampling
    with a Reservoir, 1985), so one pass serves and `most_bytes` bounds the memory: samples that
    would not fit are not drawn. Samples drawn one by one are independent, as the bootstrap takes
    them to be; whole batches would not be where a file is sorted by class.

    Args:
        task: bound to the model's inputs.
        inputs: what the model takes.
        most: how many samples.
        seed: seeds the choice.
        most_bytes: of the inputs that are kept.
        track: shown one item for each batch read.

    Returns:
        None where there are no more samples than `most`, or samples cannot be taken apart: the
        model's batch is fixed, or an input has no axis of samples.
    """
    rows = task.metric.rows if task.metric is not None else 1
    free = all(spec.shape and not isinstance(spec.shape[0], int) for spec in inputs)
    if task.validation is None or not free or rows < 1:
        return None
    random = np.random.default_rng(seed)
    # The largest number first, as heapq gives the smallest.
    kept: list[tuple[float, int, _Sample]] = []
    total = widest = held = 0
    bound = 1.0
    for batch, targets in track(task.samples(), "draw validation data", task.validation.count):
        count = batch_rows(batch) // rows
        if not _separable(batch, targets, count, rows):
            return None
        for place, number in enumerate(random.random(count)):
            if number >= bound:
                continue
            sample = _sample(batch, targets, place, count, total + place)
            heapq.heappush(kept, (-number, sample.index, sample))
            held += sample.bytes
            while len(kept) > 1 and (len(kept) > most or held > most_bytes):
                largest, _, dropped = heapq.heappop(kept)
                bound = -largest
                held -= dropped.bytes
        total += count
        widest = max(widest, count)
    if len(kept) == total:
        return None
    samples = sorted((sample for _, _, sample in kept), key=lambda sample: sample.index)
    batches = list(_batches(samples, widest))
    labelled = Labelled(lambda: iter(batches), task.validation.labelled, len(batches))
    drawn = Task(validation=labelled, metric=task.metric, name=task.description)
    return Subset(drawn, len(samples), total)


def _separable(batch: Batch, targets: Array | None, count: int, rows: int) -> bool:
    """Whether the first axis of everything is that of the samples."""
    whole = all(array.ndim > 0 and len(array) == count * rows for array in batch.values())
    return whole and (targets is None or (targets.ndim > 0 and len(targets) == count))


def _sample(batch: Batch, targets: Array | None, place: int, count: int, index: int) -> _Sample:
    # Of a batch of pairs, all first members come before all second ones. Copies, not views,
    # which would keep the whole batch.
    inputs = {name: array[place::count].copy() for name, array in batch.items()}
    return _Sample(index, inputs, None if targets is None else targets[place : place + 1].copy())


def _batches(samples: Sequence[_Sample], size: int) -> Iterator[tuple[Batch, Array | None]]:
    """Neighbours of one form together, at most `size` in a batch."""
    for _, group in groupby(samples, key=lambda sample: sample.form):
        alike = list(group)
        for start in range(0, len(alike), size):
            part = alike[start : start + size]
            inputs = {
                # (samples, rows of one, ...) with the first rows of all in front.
                name: np.concatenate(np.stack([s.inputs[name] for s in part], axis=1))
                for name in part[0].inputs
            }
            targets = [s.targets for s in part if s.targets is not None]
            yield inputs, np.concatenate(targets) if targets else None
