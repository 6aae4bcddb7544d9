"""Everything at once: the measurement of one file, alone or against another."""

from __future__ import annotations

from pathlib import Path

from lissom.arrays import Batch
from lissom.errors import RequestError
from lissom.measurement.feeds import example_feeds
from lissom.measurement.footprint import footprint
from lissom.measurement.latency import compare_speed, time_alone
from lissom.measurement.quality import judge, statistics_of
from lissom.measurement.records import Measurement, Quality, Settings
from lissom.model import TensorSpec, inputs_of
from lissom.targets.named import DEFAULT, opener
from lissom.task import Task
from lissom.technique import Track, silent


def measure(
    path: Path | str,
    task: Task | None = None,
    *,
    against: Path | str | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    target: str = DEFAULT,
    track: Track = silent,
) -> Measurement:
    """Measure a model file: size, parameters, work, memory, latency and, with a task, quality.

    Args:
        path: an .onnx file.
        task: data and metric; without it quality is None. Its first batch is what is timed.
        against: the original. Speed and quality are then relative to it; without it speed is
            None and the quality's drop is zero.
        settings: batch, shapes, threads, seconds and processes of the timing.
        seed: seeds inputs that are made up, and the bootstrap.
        target: the runtime it is measured in, "onnxruntime" or "openvino".
        track: shows progress.

    Raises:
        ModelError: a file cannot be read, or the runtime refuses it.
        TaskError: the data do not fit the model.
        RequestError: a shape does not fit the model, or the two files take different inputs.
        RunError: a file cannot be run.
        MissingExtra: the runtime is not installed.
    """
    opener(target)  # a wrong name is told before anything is run
    path = Path(path)
    against = None if against is None else Path(against)
    settings = settings or Settings()
    inputs = inputs_of(path)
    if against is not None:
        check_alike(path, against)
    if task is not None:
        task.check(inputs, track=track)
    feeds = example_feeds(inputs, settings, first_batch(task, inputs), seed)
    prints = footprint(
        path, feeds, samples=settings.batch, threads=settings.threads, runtime=target
    )
    quality = _quality(path, task, against, seed, track, target)
    if against is None:
        latency = time_alone(path, feeds, settings, track, target)
        return Measurement(
            footprint=prints, latency=latency, speed=None, quality=quality, runtime=target
        )
    speed = compare_speed(against, path, feeds, settings, track, target)
    return Measurement(
        footprint=prints,
        latency=speed.candidate,
        speed=speed,
        quality=quality,
        runtime=target,
    )


def first_batch(task: Task | None, inputs: tuple[TensorSpec, ...]) -> Batch | None:
    """The first batch of a task under the model's input names, None where there is none."""
    if task is None:
        return None
    bound = task.bind([spec.name for spec in inputs])
    if bound.calibration is not None:
        return next(iter(bound.calibration), None)
    return next((batch for batch, _ in bound.samples()), None)


def _quality(
    path: Path,
    task: Task | None,
    against: Path | None,
    seed: int,
    track: Track,
    runtime: str,
) -> Quality | None:
    if task is None or task.validation is None:
        return None
    found = statistics_of(path, task, original=against, track=track, runtime=runtime)
    original = found
    if against is not None:
        original = statistics_of(against, task, track=track, runtime=runtime)
    return judge(task.metric, original, found, fidelity=task.fidelity, seed=seed)


def check_alike(path: Path, against: Path) -> None:
    """Two files can be compared on the same arrays only.

    Raises:
        RequestError: they take inputs of other names or types.
    """
    inputs, others = inputs_of(path), inputs_of(against)
    mine, theirs = ({spec.name: spec.dtype for spec in specs} for specs in (inputs, others))
    if mine != theirs:
        raise RequestError(
            f"the two files take different inputs: {path.name} takes {_listed(inputs)}; "
            f"{against.name} takes {_listed(others)}",
            fix="compare files with the same input names and types",
        )


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(map(str, specs))
