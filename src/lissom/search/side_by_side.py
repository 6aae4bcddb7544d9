"""Two files measured next to each other, told like the result of a search of one candidate."""

from __future__ import annotations

import time
from pathlib import Path

from lissom._version import __version__
from lissom.errors import ModelError
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Measurement, Settings
from lissom.measurement.rehearse import rehearse
from lissom.measurement.whole import check_alike, first_batch, measure
from lissom.model import Model
from lissom.onnx_file import inputs_of
from lissom.report.results import Results, Row
from lissom.report.text import sentence
from lissom.search.choose import size_flags, with_front
from lissom.search.snippet import snippet_for
from lissom.targets.named import DEFAULT, described, find_target
from lissom.task import Task
from lissom.technique import Track, silent


def side_by_side(
    model: Model,
    against: Model | None,
    task: Task | None,
    *,
    settings: Settings,
    seed: int = 0,
    runtime: str = DEFAULT,
    track: Track = silent,
) -> Results:
    """Measure an .onnx model in a runtime, next to another when `against` is one.

    Raises:
        LissomError: a model, the task or a shape is wrong.
    """
    started = time.monotonic()
    target = find_target(runtime)
    path = _file_of(model)
    base = path if against is None else _file_of(against)
    alike = path.name == base.name
    inputs = inputs_of(path)
    # Before anything is timed.
    check_alike(path, base)
    notes: tuple[str, ...] = ()
    if task is not None:
        notes = task.check(inputs, classes=rehearse(base, task, inputs, runtime), track=track)
    first = measure(base, task, settings=settings, seed=seed, target=runtime, track=track)
    feeds = example_feeds(inputs, settings, first_batch(task, inputs), seed)
    rows: list[Row] = []
    if against is not None:
        second = measure(
            path, task, against=base, settings=settings, seed=seed, target=runtime, track=track
        )
        rows = with_front([_row(base, alike, first), _row(path, alike, second, next_to=first)])
    original = rows[0] if rows else _row(base, False, first)
    compared = rows[1] if rows else None
    return Results(
        lissom=__version__,
        model=base.name,
        task=task.description if task is not None else "none: quality was not measured",
        target=described([target]),
        cpu=target.cpu,
        machine=target.machine,
        settings=settings,
        objective="none: measured only",
        budget={},
        original=original,
        rows=(compared,) if compared else (),
        notes=notes,
        sentence=sentence(base.name, original, compared, settings) if compared else "",
        snippet=snippet_for(feeds, model, path.name, runtime),
        seconds=time.monotonic() - started,
    )


def _row(
    path: Path, in_full: bool, measurement: Measurement, *, next_to: Measurement | None = None
) -> Row:
    """A row called after its file, in full where the other file has the same name."""
    return Row(
        name=str(path) if in_full else path.name,
        steps=(),
        measurement=measurement,
        chosen=next_to is not None,
        flags=() if next_to is None else size_flags(measurement, next_to),
    )


def _file_of(model: Model) -> Path:
    if model.path is None:
        raise ModelError(
            "only .onnx files can be measured, and this model is not one yet",
            where=model.spec,
            fix="`lissom compress` exports it and measures it next to what it makes of it",
        )
    return model.path
