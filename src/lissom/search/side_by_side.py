"""Two files measured next to each other, told like the result of a search of one candidate."""

from __future__ import annotations

import time
from pathlib import Path

from lissom._version import __version__
from lissom.measure.measure import measure
from lissom.measure.records import Measurement, Settings
from lissom.model import open_model
from lissom.onnx_file import inputs_of
from lissom.report.results import Results, Row
from lissom.report.text import sentence
from lissom.search.choose import with_front
from lissom.search.snippet import snippet_for
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.task import Task
from lissom.technique import Track, silent


def side_by_side(
    path: Path,
    against: Path | None,
    task: Task | None,
    *,
    settings: Settings,
    seed: int = 0,
    track: Track = silent,
) -> Results:
    """Measure a file, next to another when `against` names one.

    Raises:
        LissomError: a file, the task or a shape is wrong.
    """
    started = time.monotonic()
    target = onnxruntime_target()
    model = open_model(path)
    base = path if against is None else against
    first = measure(base, task, settings=settings, seed=seed, track=track)
    rows: list[Row] = []
    if against is not None:
        second = measure(path, task, against=against, settings=settings, seed=seed, track=track)
        rows = with_front([_row(base, first), _row(path, second, chosen=True)])
    original = rows[0] if rows else _row(base, first)
    compared = rows[1] if rows else None
    return Results(
        lissom=__version__,
        model=base.name,
        task=task.description if task is not None else "none: quality was not measured",
        target=f"{target.name} {target.version}",
        machine=target.machine,
        settings=settings,
        objective="none: measured only",
        budget={},
        original=original,
        rows=(compared,) if compared else (),
        sentence=sentence(base.name, original, compared, settings) if compared else "",
        snippet=snippet_for(inputs_of(path), settings, model),
        seconds=time.monotonic() - started,
    )


def _row(path: Path, measurement: Measurement, *, chosen: bool = False) -> Row:
    return Row(name=path.name, steps=(), measurement=measurement, chosen=chosen)
