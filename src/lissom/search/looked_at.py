"""The samples that a diagnosis looks at: drawn from a task's data, or made up without a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lissom.arrays import Batch
from lissom.batches import Batches
from lissom.errors import TaskError
from lissom.labelled import Labelled, Sample, batch_rows
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Settings
from lissom.onnx_file import TensorSpec
from lissom.search.subset import draw
from lissom.task import Task
from lissom.technique import Track, silent

# Below this an error cannot be told from a sample's own, and a channel's mean not at all.
FEWEST, ENOUGH = 8, 64
# Samples that are made up, and how many have one seed.
MADE_UP, OF_ONE_SEED = 32, 8


@dataclass(frozen=True)
class LookedAt:
    """Input batches of the original by name, which can be read again and again.

    Attributes:
        batches: of them.
        words: what they are, for the reader.
        made_up: whether they are numbers that nobody measured.
        judged: the task whose metric is found on the same samples, or None.
        calibration: batches to compare them with, or None.
    """

    batches: Batches = field(repr=False)
    words: str
    made_up: bool = False
    judged: Task | None = None
    calibration: Batches | None = field(default=None, repr=False)


def made_up(
    inputs: Sequence[TensorSpec],
    samples: int,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    seed: int = 0,
) -> LookedAt:
    """At most 32 samples as `example_feeds` makes them up, eight of each seed where the batch is
    free.

    Masks are 1 and other integers 0 for every seed: where no input is floating, one sample is all
    there is.

    Raises:
        RequestError, ModelError: as `example_feeds`.
    """
    free = all(spec.shape and not isinstance(spec.shape[0], int) for spec in inputs)
    floating = any(spec.dtype.startswith(("float", "bfloat", "double")) for spec in inputs)
    most = min(samples, MADE_UP) if floating else 1
    size = min(OF_ONE_SEED, most) if free and not shapes else 1
    settings = Settings(batch=size, shapes=dict(shapes or {}))
    rows = batch_rows(example_feeds(inputs, settings, None, seed))
    count = max(1, most // max(1, rows)) if floating else 1

    def restart() -> Iterator[Batch]:
        for at in range(count):
            yield example_feeds(inputs, settings, None, seed + at)

    kinds = "standard normal numbers" if floating else "every integer 0, every mask 1"
    named = tuple(spec.name for spec in inputs)
    total = rows * count
    return LookedAt(
        batches=Batches(restart, count, named),
        words=f"{total} made-up sample{'s' if total > 1 else ''} ({kinds})",
        made_up=True,
    )


def of_task(
    task: Task,
    inputs: Sequence[TensorSpec],
    most: int,
    *,
    seed: int = 0,
    track: Track = silent,
) -> LookedAt:
    """At most so many validation samples drawn at random; of a task without, calibration data.

    Where the model's batch is fixed, whole batches are drawn.

    Raises:
        TaskError: the data do not fit the model, or there are fewer than eight samples.
    """
    task.check(inputs, track=track)
    names = [spec.name for spec in inputs]
    bound = task.bind(names)
    kind = "validation"
    if bound.validation is None:
        if bound.calibration is None:
            raise TaskError(
                "the task has neither validation nor calibration data to look at",
                fix="give validation=(inputs, targets), or calibration=batches",
            )
        kind = "calibration"
        bound = Task(validation=Labelled.of(bound.calibration))
    subset = draw(bound, inputs, most, seed=seed, track=track)
    if subset is not None:
        drawn, judged, total = subset.task, subset.judged, subset.total
    else:
        drawn, judged, total = _whole_batches(bound, most, seed)
    if judged < FEWEST:
        raise TaskError(
            f"{judged} {kind} sample{' is' if judged == 1 else 's are'} too few to tell where an "
            "error comes from",
            where=task.description,
            fix=f"give {FEWEST} at least; {ENOUGH} tell the shift of a mean from chance",
        )
    how = f", drawn at random (seed {seed})" if judged < total else ""
    of = f"{judged:,} of {total:,}" if judged < total else f"all {total:,}"
    validation = drawn.validation
    assert validation is not None
    return LookedAt(
        batches=Batches(lambda: (batch for batch, _ in drawn.samples()), validation.count),
        words=f"{of} {kind} samples{how}",
        judged=drawn if kind == "validation" else None,
        calibration=bound.calibration,
    )


def _whole_batches(task: Task, most: int, seed: int) -> tuple[Task, int, int]:
    """The task with as many batches, drawn at random, as hold `most` samples; how many, of how
    many."""
    assert task.validation is not None
    data = task.validation
    rows = max(1, task.metric.rows) if task.metric is not None else 1
    sizes = [max(1, batch_rows(batch) // rows) for batch, _ in data]
    order = np.random.default_rng(seed).permutation(len(sizes))
    upto = np.cumsum([sizes[at] for at in order])
    count = max(1, int(np.searchsorted(upto, most, side="right")))
    kept = {int(at) for at in order[:count]}
    if len(kept) == len(sizes):
        return task, sum(sizes), sum(sizes)

    def restart() -> Iterator[Sample]:
        return (pair for at, pair in enumerate(data) if at in kept)

    labelled = Labelled(restart, data.labelled, len(kept))
    fewer = Task(validation=labelled, metric=task.metric, name=task.description)
    return fewer, sum(sizes[at] for at in kept), sum(sizes)
