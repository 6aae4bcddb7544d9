"""The one training loop: whatever trains in lissom gives it a loss, and reads its result.

What surrounds a step (checkpoints, schedule, averages, logs) is in `lissom.nn.run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from lissom.arrays import Array
from lissom.nn.place import find_place, repeatable
from lissom.nn.progress import TrainResult
from lissom.nn.run import Loss, Run, Validate
from lissom.nn.training import Training
from lissom.technique import Track, silent
from lissom.training_data import TrainingData, seeded

__all__ = ["Loss", "TrainResult", "Training", "Validate", "train"]


def train(
    module: nn.Module,
    data: TrainingData,
    loss: Loss,
    config: Training,
    *,
    validate: Validate | None = None,
    higher_is_better: bool = True,
    folder: Path | None = None,
    beside: Mapping[str, Array] | None = None,
    facts: Mapping[str, str] | None = None,
    seed: int = 0,
    track: Track = silent,
) -> TrainResult:
    """Train a module in place; it ends in evaluation mode with the weights that are kept.

    With a folder the run leaves checkpoints and log.jsonl there, and goes on from what it finds:
    killed at any moment, it ends with the bits of a run that was not. Started by torchrun, its
    processes share the work.

    Args:
        module: the network, trained on the device of the config and brought back afterwards.
        data: what it learns from, bound to its input names.
        loss: `(module, inputs, targets) -> scalar`, the mean over the batch; it calls the module
            it is given. Targets are None where the data have none.
        config: how to train.
        validate: the metric of a module, after every epoch; the first process computes it.
        higher_is_better: the metric's direction.
        folder: for checkpoints and the log; None keeps neither.
        beside: arrays of one row per sample, added to the inputs of every batch by name.
        facts: digests of whatever else decides the result, by name; a checkpoint that was made
            under others is refused.
        seed: decides the order of the data and all that is random.
        track: shows epochs and steps.

    Raises:
        RequestError: an optimizer, schedule, device or option is not there.
        RunError: the loss is NaN or infinite; the module then has its last good weights.
        FolderError: the checkpoint is another run's, or cannot be written.
        TaskError: the data do not fit.
    """
    place = find_place(config)
    with repeatable(), seeded(seed):
        run = Run(module, data, config, place, seed, higher_is_better, validate, folder, beside)
        if place.rank:
            track = silent
        with run.resumed(facts or {}):
            for epoch in track(run.epochs(), "train", run.epochs_left):
                for step in track(run.steps(), f"epoch {epoch.number + 1}", run.steps_left):
                    total = 0.0
                    for batch in step.batches:
                        with place.autocast():
                            value = loss(run.student, batch.inputs, batch.targets)
                        total += run.finite(value, batch, loss)
                        (value / len(step.batches)).backward()  # type: ignore[no-untyped-call]
                    run.step(total / len(step.batches), len(step.batches))
                run.end_epoch()
        return run.result()
