"""Tasks from a table: which of its columns are the model's inputs, and which the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError
from lissom.metric import Metric
from lissom.model import Model, TensorSpec
from lissom.sources.array_tasks import task_of_arrays
from lissom.sources.arrow_files import read_table
from lissom.sources.classes import numbered
from lissom.sources.columns import array_of, is_number, is_picture, is_text, picture_of, texts_of
from lissom.sources.gallery import Gallery, gallery_task
from lissom.sources.image_tasks import (
    image_input,
    input_name,
    preprocessing_of,
    told,
)
from lissom.sources.pictures import need_pillow
from lissom.sources.preprocessing import SETTINGS
from lissom.sources.text_tasks import task_of_pairs, task_of_texts
from lissom.sources.tokens import TOKEN_INPUTS, open_tokens
from lissom.task import Task

TABLE_SETTINGS = ("label", "text", "image", "classes", *SETTINGS)
LABEL_NAMES = ("label", "labels", "target", "targets")
SCORE = "score"  # the label beside texts
TEXT_NAMES = ("text", "sentence", "content")
PAIR_NAMES = ("sentence1", "sentence2")


@dataclass(frozen=True)
class _Chosen:
    """A table, the names of its columns without the labels, and the labels."""

    table: Any
    path: Path
    names: tuple[str, ...]
    labels: Array | None
    notes: tuple[str, ...]

    def first(self, fits: Any, settings: Mapping[str, str], setting: str) -> str | None:
        """The column of a kind that the user names, or the only one of that kind."""
        if setting in settings:
            name = self.known(settings[setting])
            if not fits(self.table.column(name)):
                kind = {"image": "pictures", "text": "texts"}[setting]
                raise TaskError(f"the column {name!r} holds no {kind}", where=str(self.path))
            return name
        found = [name for name in self.names if fits(self.table.column(name))]
        return found[0] if len(found) == 1 else None

    def known(self, name: str) -> str:
        return _known(self.table, name, self.path)


def table_task(
    path: Path,
    model: Model,
    specs: tuple[TensorSpec, ...] | None,
    metric: Metric | None,
    batch_size: int,
    name: str,
    settings: Mapping[str, str],
    tokenizer: Path | None = None,
) -> Task:
    """A task from a table whose columns are the model's inputs, or texts, or pictures; or, for a
    model of one vector, one number each of it.

    Labels are in a column `label`, `labels`, `target` or `targets`, or as `label=` says.

    Raises:
        TaskError: the table is not as it must be, or has no columns for the model's inputs.
        MissingExtra: pyarrow, or what the columns need, is not installed.
    """
    table = read_table(path)
    chosen = _choose(table, path, model, settings)
    inputs = [spec.name for spec in specs or ()] or [
        column for column in chosen.names if column in (*TOKEN_INPUTS, "pixel_values")
    ]
    if inputs and set(inputs) <= set(chosen.names) and not settings.keys() & {"text", "image"}:
        known = {spec.name: spec for spec in specs or ()}
        arrays = {one: array_of(table.column(one), one, known.get(one)) for one in inputs}
        return task_of_arrays(
            arrays, chosen.labels, specs, metric, batch_size, name, str(path), chosen.notes
        )
    pictures = chosen.first(is_picture, settings, "image")
    if pictures is not None:
        return _pictures(chosen, pictures, model, specs, metric, batch_size, name, settings)
    texts = _text_columns(chosen, settings)
    if texts:
        tokens = open_tokens(model, specs, tokenizer)
        columns = [texts_of(table.column(one), one) for one in texts]
        if len(columns) == 1:
            return task_of_texts(
                columns[0], chosen.labels, tokens, metric, batch_size, name, chosen.notes
            )
        if chosen.labels is None:
            raise TaskError(
                "pairs of texts need a column of scores",
                where=str(path),
                fix=f"name it: label=COLUMN; the table has {_columns(table)}",
            )
        scores = chosen.labels.astype(np.float64)
        first, second = columns
        return task_of_pairs(
            first, second, scores, tokens, metric, batch_size, name, str(path), chosen.notes
        )
    return _numbers(chosen, specs, metric, batch_size, name)


def _choose(table: Any, path: Path, model: Model, settings: Mapping[str, str]) -> _Chosen:
    label = settings.get("label")
    if label is None:
        texts = any(map(is_text, table.columns))
        likely = (*LABEL_NAMES, SCORE) if texts else LABEL_NAMES
        label = next((one for one in likely if one in table.column_names), None)
    else:
        _known(table, label, path)
    names = tuple(one for one in table.column_names if one != label)
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise TaskError(f"the table has two columns {twice!r}", where=str(path))
    if label is None:
        return _Chosen(table, path, names, None, ())
    column = table.column(label)
    if is_text(column):
        listed = Path(settings["classes"]) if "classes" in settings else None
        labels, note = numbered(texts_of(column, label), label, model, path, listed)
        return _Chosen(table, path, names, labels, (note,))
    labels = array_of(column, label)
    if labels.dtype == bool:  # false is class 0, true is class 1
        labels = labels.astype(np.int64)
    return _Chosen(table, path, names, labels, ())


def _text_columns(chosen: _Chosen, settings: Mapping[str, str]) -> list[str]:
    """One column of texts, or the two of pairs, or none."""
    if "text" in settings:
        names = settings["text"].split("/")
        if len(names) > 2:
            raise TaskError("text= names one column, or two of pairs: text=first/second")
        for name in names:
            if not is_text(chosen.table.column(chosen.known(name))):
                raise TaskError(f"the column {name!r} holds no texts", where=str(chosen.path))
        return names
    texts = [one for one in chosen.names if is_text(chosen.table.column(one))]
    if all(one in texts for one in PAIR_NAMES):
        return list(PAIR_NAMES)
    if len(texts) == 1:
        return texts
    return [one for one in TEXT_NAMES if one in texts][:1]


def _pictures(
    chosen: _Chosen,
    column: str,
    model: Model,
    specs: tuple[TensorSpec, ...] | None,
    metric: Metric | None,
    batch_size: int,
    name: str,
    settings: Mapping[str, str],
) -> Task:
    need_pillow()
    spec = image_input(specs)
    wanted = preprocessing_of(model, spec, settings)
    values = chosen.table.column(column)
    gallery = Gallery(
        count=chosen.table.num_rows,
        source=lambda row: picture_of(values, row),
        name=lambda row: f"{chosen.path}, column {column!r}, row {row}",
        wanted=wanted,
        input=input_name(spec, model),
    )
    notes = (*chosen.notes, told(wanted, settings))
    return gallery_task(gallery, chosen.labels, specs, metric, batch_size, name, notes)


def _numbers(
    chosen: _Chosen,
    specs: tuple[TensorSpec, ...] | None,
    metric: Metric | None,
    batch_size: int,
    name: str,
) -> Task:
    """Columns of one number each as the one vector a model takes, in the order of the table."""
    spec = specs[0] if specs is not None and len(specs) == 1 else None
    numeric = [one for one in chosen.names if is_number(chosen.table.column(one))]
    width = spec.shape[1] if spec is not None and len(spec.shape) == 2 else None
    if spec is None or len(numeric) != width or len(numeric) != len(chosen.names):
        raise _no_columns(chosen, specs)
    columns = [array_of(chosen.table.column(one), one, spec) for one in numeric]
    note = f"The input {spec.name!r} is made of the columns {', '.join(numeric)}, in this order."
    return task_of_arrays(
        {spec.name: np.stack(columns, axis=1)}, chosen.labels, specs, metric, batch_size, name,
        str(chosen.path), (*chosen.notes, note),
    )  # fmt: skip


def _no_columns(chosen: _Chosen, specs: tuple[TensorSpec, ...] | None) -> TaskError:
    takes = "the model takes " + ", ".join(map(str, specs)) if specs else "of this model"
    missing = [spec.name for spec in specs or () if spec.name not in chosen.names]
    lacks = f"the column {missing[0]!r}" if missing else "a column of texts, pictures or numbers"
    fix = f"name the columns as the model's inputs: {takes}; or say text=COLUMN, image=COLUMN, "
    fix += "label=COLUMN"
    if specs is not None and len(specs) == 1 and len(specs[0].shape) == 2:
        fix += (
            f"; or keep one column for each number the model takes, {specs[0].shape[1]}, and the "
            f"label: there are {len(chosen.names)} besides the label"
        )
    return TaskError(
        f"the table lacks {lacks}; it has {_columns(chosen.table)}",
        where=str(chosen.path),
        fix=fix,
    )


def _known(table: Any, name: str, path: Path) -> str:
    if name in table.column_names:
        return name
    raise TaskError(
        f"the table has no column {name!r}",
        where=str(path),
        fix=f"it has {_columns(table)}",
    )


def _columns(table: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in table.schema)[:300]
