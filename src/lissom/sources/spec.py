"""What `--task` may say, and the task it means."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lissom.errors import TaskError
from lissom.metrics import metric_named
from lissom.model import Model, inputs_of
from lissom.sources.array_tasks import array_task
from lissom.sources.image_tasks import IMAGE_SETTINGS, image_task
from lissom.sources.settings import split_settings, whole_number
from lissom.sources.table_tasks import TABLE_SETTINGS, table_task
from lissom.sources.text_tasks import pairs_task, text_task
from lissom.sources.tokens import open_tokens
from lissom.task import Task
from lissom.user_code import load_object, showing_user_lines, split_spec, user_lines

FORMS = {
    "images": "images:FOLDER",
    "arrays": "arrays:FILE.npz",
    "table": "table:FILE.parquet",
    "text": "text:FILE",
    "pairs": "pairs:FILE.tsv",
}
ENDINGS = {
    ".npz": "arrays",
    ".parquet": "table",
    ".arrow": "table",
    ".txt": "text",
    ".tsv": "pairs",
    ".csv": "pairs",
}
# What may be set behind the file's name.
SETTINGS = {
    "images": ("batch", *IMAGE_SETTINGS),
    "arrays": ("batch",),
    "table": ("batch", *TABLE_SETTINGS),
    "text": ("batch",),
    "pairs": ("batch",),
}


def open_task(
    spec: str,
    *,
    model: Model,
    metric: str | None = None,
    batch_size: int = 32,
    tokenizer: Path | None = None,
) -> Task:
    """The task a command line names: `file.py:object`, `module:object`, or one of `FORMS`.

    Settings may stand behind a file's name: `images:FOLDER,size=224,batch=8`.

    Raises:
        TaskError: there is no such task, its data are not as they must be, or its file fails.
        RequestError: no metric or setting has that name.
        MissingExtra: text without the package `tokenizers`, pictures without Pillow, tables
            without pyarrow.
    """
    scheme, _, rest = spec.partition(":")
    judge = None if metric is None else metric_named(metric)
    if scheme not in FORMS:
        return _from_python(spec, model, metric)
    if not rest:
        raise TaskError(f"{spec!r} names no file", fix=f"write {FORMS[scheme]}")
    path, settings = split_settings(rest, SETTINGS[scheme])
    specs = None if model.path is None else inputs_of(model.path)
    name = _recorded(scheme, path, settings)
    size = whole_number(settings, "batch") or batch_size
    if scheme == "images":
        return image_task(path, model, specs, judge, size, name, settings)
    if scheme == "arrays":
        return array_task(path, specs, judge, size, name)
    if scheme == "table":
        return table_task(path, model, specs, judge, size, name, settings, tokenizer)
    tokens = open_tokens(model, specs, tokenizer)
    make = text_task if scheme == "text" else pairs_task
    return make(path, tokens, judge, size, name)


def _recorded(scheme: str, path: Path, settings: Mapping[str, str]) -> str:
    """What was asked for, settings too, so that it can be opened again; no path of this machine."""

    def typed(value: Path) -> str:
        return value.name if value.is_absolute() else str(value)

    said = {name: typed(Path(value)) if name == "classes" else value
            for name, value in settings.items()}  # fmt: skip
    return ",".join([f"{scheme}:{typed(path)}", *(f"{name}={said[name]}" for name in said)])


def _from_python(spec: str, model: Model, metric: str | None) -> Task:
    if split_spec(spec) is None or _looks_like_scheme(spec):
        raise _not_a_task(spec)
    try:
        found, _ = load_object(spec, error=TaskError)
        if not isinstance(found, Task) and callable(found):
            found = _called(found, spec, model)
    except TaskError as error:
        # A task refused while the file runs: show the line that makes it.
        error.where = "\n".join(filter(None, [error.where, user_lines(error)])) or None
        raise
    if not isinstance(found, Task):
        raise TaskError(
            f"{spec} is {type(found).__name__!r}, not a task",
            fix="it must be lissom.Task(...), or a function that returns one",
        )
    return found if metric is None else found.judged_by(metric)


def _called(function: Callable[..., Any], spec: str, model: Model) -> object:
    """Call the function, with the model if it has a place for it."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some compiled callables have none
        signature = inspect.Signature()
    needed = [
        one
        for one in signature.parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    with showing_user_lines(spec, TaskError):
        if "model" in signature.parameters and len(needed) <= 1:
            return function(model=model)
        if not needed:
            return function()
    raise TaskError(
        f"{spec} needs the arguments {', '.join(one.name for one in needed)}",
        fix="a task function takes nothing, or `model`",
    )


def _looks_like_scheme(spec: str) -> bool:
    """Whether `texts:file` is a slip for `text:file`, no module of a user being called so."""
    place = spec.partition(":")[0]
    if place.endswith(".py") or not difflib.get_close_matches(place, FORMS, n=1, cutoff=0.6):
        return False
    here = Path(f"{place}.py").is_file() or Path(place).is_dir()
    top = place.split(".")[0]
    return not here and (top in sys.stdlib_module_names or importlib.util.find_spec(top) is None)


def _not_a_task(spec: str) -> TaskError:
    forms = ", ".join(["file.py:object", *FORMS.values()])
    scheme, colon, rest = spec.partition(":")
    near = difflib.get_close_matches(scheme, FORMS, n=1, cutoff=0.5)
    ending = Path(spec).suffix
    guess = ""
    if colon and near:
        guess = f"did you mean {near[0]}:{rest}? "
    elif not colon and ending == ".py":
        guess = f"write {spec}:NAME, the name of a lissom.Task or of a function that returns one; "
    elif not colon and ending in ENDINGS:
        guess = f"did you mean {ENDINGS[ending]}:{spec}? "
    return TaskError(f"{spec!r} is no task", fix=f"{guess}a task is one of: {forms}")
