"""Which number the model gives to a class that the labels call by a word."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError
from lissom.model import Model, outputs_of, read_json
from lissom.sources.image_folder import read_classes
from lissom.sources.places import folders_of


def numbered(
    words: Sequence[str], column: str, model: Model, path: Path, listed: Path | None
) -> tuple[Array, str]:
    """Class numbers of labels in words, and how they were found: as the list in the file `listed`
    says, else in the model's own order, else sorted.

    Raises:
        TaskError: the words are not as many as the model's classes, so that a sorted place says
            nothing, or one of them is not in the list.
    """
    found = tuple(sorted(set(words)))
    if listed is not None:
        order, source = read_classes(listed), f"as {listed.name} lists them"
        unknown = next((word for word in found if word not in order), None)
        if unknown is not None:
            raise TaskError(
                f"the label {unknown!r} in the column {column!r} is not in the list of classes",
                where=f"{path}, row {words.index(unknown)}",
                fix=f"add it to {listed}, one class a line in the order of the model's outputs",
            )
    elif order := own_order(model, found):
        source = "as the model's config.json names them (id2label)"
    else:
        _refuse_other_count(found, column, model, path)
        order, source = found, "sorted by name"
    number = {word: place for place, word in enumerate(order)}
    note = f"The labels in the column {column!r} are words; they are numbered {source}."
    return np.array([number[word] for word in words], dtype=np.int64), note


def _refuse_other_count(found: Sequence[str], column: str, model: Model, path: Path) -> None:
    """A class that no row has, or that the model lacks, would shift the numbers of those after."""
    of_model = count_of_classes(model)
    if of_model in (None, len(found)):
        return
    raise TaskError(
        f"the column {column!r} has {len(found):,} different words and the model tells "
        f"{of_model:,} classes apart, so which word is which output is not known",
        where=str(path),
        fix="list the model's classes in a file, one a line in the order of its outputs, and add "
        "classes=FILE; or give numbers as labels",
    )


def own_order(model: Model, classes: Collection[str]) -> tuple[str, ...]:
    """The model's own names of its classes in order, where all of `classes` are among them; else
    empty.

    Raises:
        TaskError: it calls several of its classes by one of these names.
    """
    order = _classes_of(model)
    if not classes or not set(classes) <= set(order):
        return ()
    twice = next((name for name in classes if order.count(name) > 1), None)
    if twice is not None:
        numbers = [str(place) for place, name in enumerate(order) if name == twice]
        raise TaskError(
            f"the model calls several classes {twice!r}: {', '.join(numbers)}",
            where=f"id2label in the config.json of {model.spec}",
            fix="number the classes yourself: images:FOLDER,classes=FILE with other names for the "
            "folders, or a table with a column of numbers",
        )
    return order


def _classes_of(model: Model) -> tuple[str, ...]:
    for folder in folders_of(model):
        config = read_json(folder / "config.json")
        labels = config.get("id2label") if isinstance(config, dict) else None
        if isinstance(labels, dict) and all(str(key).isdecimal() for key in labels):
            return tuple(str(labels[key]) for key in sorted(labels, key=int))
    return ()


def count_of_classes(model: Model) -> int | None:
    """How many classes the model tells apart, None where that is not known."""
    if model.path is None:
        return len(_classes_of(model)) or None
    outputs = outputs_of(model.path)
    shape = outputs[0].shape if outputs else ()
    count = shape[1] if len(shape) == 2 else None
    return count if isinstance(count, int) and count >= 2 else None
