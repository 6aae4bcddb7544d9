"""The calibration samples that single layers are fed with: how many, and which."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from lissom.arrays import Batch
from lissom.batches import Batches
from lissom.diagnosis.pieces import cut, free_of
from lissom.labelled import batch_rows
from lissom.onnx_file import TensorSpec
from lissom.search.layer_errors import Original
from lissom.search.looked_at import FEWEST, of_task
from lissom.task import Task
from lissom.technique import Context

# Samples that are run at a time: whose activations share a range where that is found while running.
PIECE = 4
# All layers in all formats take so many runs of the calibration data for each layer at most. A
# format takes a run from each layer on, half a run, and so many more, most of them for pairs.
MOST_RUNS, RUNS_BESIDE = 3, 8
# What is held takes so many bytes at most: of all samples, and of those that are run at a time,
# which take several times as much while their errors are summed up.
MOST_BYTES, PIECE_BYTES = 512 * 2**20, 64 * 2**20


def are_enough(calibration: Batches) -> bool:
    """Whether layers can be told apart on so many; no more are read than that takes."""
    return sum(batch_rows(batch) for batch in islice(calibration, FEWEST)) >= FEWEST


def drawn_samples(
    network: Original,
    task: Task,
    inputs: Sequence[TensorSpec],
    samples: int,
    formats: int,
    context: Context,
) -> list[Batch]:
    """Calibration samples drawn at random, in batches of a few; as they are where a batch is fixed.

    Validation data are not looked at: what formats are chosen on must not judge the files made of
    them. There are as many as there is time and room for, eight at least.

    Args:
        network: the original.
        task: bound to the inputs, with calibration data.
        inputs: of the network.
        samples: at most so many.
        formats: how many layers are brought into.
        context: its seed draws.

    Raises:
        ModelError: the network cannot be run.
        TaskError: the data do not fit it, or there are fewer than eight.
    """
    alone = Task(calibration=task.calibration, name=task.description)
    calibration = task.calibration
    assert calibration is not None
    layers = len(list(network.layers()))
    allowed = MOST_RUNS * layers * sum(batch_rows(batch) for batch in calibration)
    in_time = int(allowed / (formats * (layers / 2 + RUNS_BESIDE)))
    free = free_of(inputs)
    first = next(cut(next(iter(calibration)), free, 1))
    each = max(1, network.held(first) // batch_rows(first))
    most = min(samples, max(FEWEST, min(in_time, MOST_BYTES // each)))
    looked = of_task(alone, inputs, most, seed=context.seed, track=context.track)
    step = max(1, min(PIECE, PIECE_BYTES // each))
    return [part for batch in looked.batches for part in cut(batch, free, step)]
