"""Open the model, hold the folder, do the work, save the best."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lissom.errors import FolderError, RequestError, TaskError
from lissom.model import Model, open_model
from lissom.recipe.store import Store
from lissom.search.folder import workspace
from lissom.search.layers import with_layers
from lissom.search.ready import Found
from lissom.search.result import Result, save_best
from lissom.task import Task

FULL = (errno.ENOSPC, errno.EDQUOT)


def outcome(
    model: Model | str | Path | Any,
    task: Task | None,
    work: Callable[[Model, Store], Found],
    *,
    folder: Path | str | None,
    example_inputs: Any,
    waiting: Callable[[], None],
) -> Result:
    """The result of `work(model, store)`, its best saved into `folder`.

    Without a folder the work is done in a temporary one that lives as long as the result.

    Raises:
        LissomError: the model or the folder is wrong, or the work fails.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RequestError(
            "a whole run is one process, and this is one of several that torchrun started",
            where=f"WORLD_SIZE={os.environ['WORLD_SIZE']}",
            fix="start lissom without torchrun; under torchrun call lissom.nn.train.train, which "
            "shares the steps among the processes",
        )
    if task is not None and not isinstance(task, Task):
        raise TaskError(
            f"the task is {type(task).__name__!r}, not a lissom.Task",
            fix="lissom.Task(calibration=batches, validation=(inputs, targets), metric=...)",
        )
    opened = model if isinstance(model, Model) else open_model(model, example_inputs=example_inputs)
    temporary = tempfile.TemporaryDirectory(prefix="lissom-") if folder is None else None
    place = Path(temporary.name if temporary is not None else folder or ".")
    with workspace(place, opened, waiting) as store:
        result = Result(with_layers(work(opened, store)), opened, temporary)
        if temporary is None:
            with _keeping_what_is_finished():
                save_best(result, place)
    return result


@contextlib.contextmanager
def _keeping_what_is_finished() -> Iterator[None]:
    """Say of a disk that is full at the very end that nothing has to be computed again."""
    try:
        yield
    except FolderError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
            error.fix = "free some space; the same command then goes on from the finished steps"
        raise
