"""Tasks from a folder of pictures, prepared as the model's own files say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lissom.errors import TaskError
from lissom.metric import Metric
from lissom.model import Model, TensorSpec
from lissom.sources.classes import count_of_classes, own_order
from lissom.sources.gallery import Gallery, gallery_task
from lissom.sources.image_folder import list_pictures, read_classes, remarks_on
from lissom.sources.pictures import need_pillow
from lissom.sources.places import folders_of
from lissom.sources.preprocessing import (
    SETTINGS,
    Preprocessing,
    assumed,
    shape_of,
    square,
    with_settings,
)
from lissom.sources.preprocessor_config import read_preprocessing
from lissom.sources.settings import sizes
from lissom.task import Task

IMAGE_SETTINGS = (*SETTINGS, "classes")


def image_task(
    folder: Path,
    model: Model,
    specs: Sequence[TensorSpec] | None,
    metric: Metric | None,
    batch_size: int,
    name: str,
    settings: Mapping[str, str],
) -> Task:
    """A task of a folder of pictures: with labels where it has one folder for each class,
    else fidelity.

    Raises:
        TaskError: the folder, a setting or the model's preprocessing file is not as it must be.
        MissingExtra: Pillow is not installed.
    """
    need_pillow()
    spec = image_input(specs)
    listed = read_classes(Path(settings["classes"])) if "classes" in settings else None
    pictures = list_pictures(folder, listed)
    notes = list(remarks_on(pictures, listed=listed is not None))
    if order := own_order(model, pictures.classes) if listed is None else ():
        pictures = list_pictures(folder, order)
        notes = ["Classes are numbered as the model's config.json names them (id2label)."]
    elif pictures.labels is not None:
        notes += _compared(pictures.classes, model, folder, listed=listed is not None)
    wanted = preprocessing_of(model, spec, settings)
    gallery = Gallery(
        count=len(pictures.files),
        source=pictures.files.__getitem__,
        name=lambda row: str(pictures.files[row]),
        wanted=wanted,
        input=input_name(spec, model),
    )
    return gallery_task(
        gallery, pictures.labels, specs, metric, batch_size, name, [*notes, told(wanted, settings)]
    )


def preprocessing_of(
    model: Model, spec: TensorSpec | None, settings: Mapping[str, str]
) -> Preprocessing:
    """How the model wants its pictures: as its own file says, else as its input suggests; then
    as the settings say.

    Raises:
        TaskError: the size is not known, or is not the one the model takes.
    """
    size = sizes(settings, "size")
    found = read_preprocessing(folders_of(model), sized=size is not None)
    layout, channels, fixed = shape_of(spec)
    if found is None:
        found = assumed(spec, None if size is None else square(size))
    else:
        found = _on_input(found, spec, layout, channels)
    found = with_settings(found, settings)
    if fixed is not None and found.output not in (None, fixed):
        height, width = found.output or fixed
        raise TaskError(
            f"{found.source or 'the settings'} make{'s' * bool(found.source)} pictures of "
            f"{height}x{width}, and the model takes {fixed[0]}x{fixed[1]}",
            where=str(spec),
            fix=f"set the size: size={fixed[0]}x{fixed[1]}",
        )
    return found


def image_input(specs: Sequence[TensorSpec] | None) -> TensorSpec | None:
    """The one input that takes pictures, None while the inputs are not known.

    Raises:
        TaskError: there is none of four dimensions, or there are others beside it.
    """
    if specs is None:
        return None
    images = [spec for spec in specs if len(spec.shape) == 4 and _can_hold(spec)]
    if len(images) == 1 and len(specs) == 1:
        return images[0]
    wrong = "has no input for pictures (batch, channels, height, width)"
    if images:
        other = next(spec for spec in specs if spec != images[0])
        wrong = f"also takes {other.name!r}"
    raise TaskError(
        f"pictures are one input of four dimensions; the model {wrong}",
        where="inputs of the model: " + ", ".join(map(str, specs)),
        fix="make the batches yourself: a task file, --task file.py:object",
    )


def _can_hold(spec: TensorSpec) -> bool:
    return spec.dtype in ("float32", "float16", "float64", "uint8")


def _on_input(
    found: Preprocessing, spec: TensorSpec | None, layout: str, channels: str
) -> Preprocessing:
    """What the file leaves open, from the model's input: layout, gray, dtype."""
    if spec is None:
        return found
    changes: dict[str, Any] = {"layout": layout, "dtype": spec.dtype}
    if channels == "L":
        changes |= {
            "channels": "L",
            "mean": (math.fsum(found.mean) / len(found.mean),),
            "std": (math.fsum(found.std) / len(found.std),),
        }
    return dataclasses.replace(found, **changes)


def input_name(spec: TensorSpec | None, model: Model) -> str | None:
    """What the pictures' input is called, None where it goes by position."""
    if spec is not None:
        return spec.name
    return "pixel_values" if model.kind == "huggingface" else None


def _compared(
    classes: Sequence[str], model: Model, folder: Path, *, listed: bool
) -> tuple[str, ...]:
    """What to tell of the number of classes beside the model's; more than the model's is wrong."""
    of_model = count_of_classes(model)
    if of_model in (None, len(classes)):
        return ()
    if len(classes) > of_model:
        what = "classes in the list" if listed else "class folders"
        raise TaskError(
            f"there are {len(classes)} {what}, and the model tells {of_model} classes apart",
            where=str(folder),
            fix="leave out what the model does not know, or give its own list: classes=FILE",
        )
    if listed:
        return ()
    return (
        f"There are {len(classes)} class folders and the model has {of_model:,} classes: they are "
        f"taken as its first {len(classes)}, by name. If they are others, give classes=FILE.",
    )


def told(wanted: Preprocessing, settings: Mapping[str, str]) -> str:
    """What a reader of the report should know of how the pictures were prepared."""
    if wanted.source:
        changed = [f"{name}={settings[name]}" for name in SETTINGS if name in settings]
        but = f", but for {', '.join(changed)}" if changed else ""
        return f"Pictures as {wanted.source} beside the model says{but}: {wanted}."
    words = f"Pictures: {wanted}."
    if wanted.raw or settings.keys() >= {"mean", "std"}:
        return words
    return (
        f"{words} No preprocessing file is beside the model: what was not set was taken from its "
        "input's shape, with ImageNet's mean and std; if it was trained otherwise, say so: "
        "images:FOLDER,mean=0.5/0.5/0.5,std=0.5/0.5/0.5"
    )
