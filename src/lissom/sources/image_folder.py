"""A folder of pictures: one folder for each class, or all in one without labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError

ENDINGS = (
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".jp2", ".avif",
)  # fmt: skip
# Folders that archivers and tools leave behind.
LEFT_BEHIND = ("__MACOSX",)
SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval")


@dataclass(frozen=True)
class Pictures:
    """The files in a fixed order, the class of each, and the classes' names.

    `labels` (n,) int64 and `classes` are None and empty where the folder has no class folders.
    """

    files: tuple[Path, ...]
    labels: Array | None
    classes: tuple[str, ...] = ()


def list_pictures(folder: Path, classes: Sequence[str] | None = None) -> Pictures:
    """The pictures of a folder, sorted by name; the label of a class is its place in `classes`,
    which are the sorted names of the folders where left out.

    Raises:
        TaskError: there is no such folder, it holds no pictures, or pictures lie both in class
            folders and beside them, or a folder is none of the classes.
    """
    beside, folders = _entries(folder)
    below = {one.name: _walk(one) for one in folders}
    filled = [name for name in below if below[name]]
    if beside and filled:
        raise TaskError(
            f"pictures lie beside class folders: {beside[0].name}, and the folder {filled[0]}",
            where=str(folder),
            fix="put every picture into its class's folder, or all into one folder without labels",
        )
    if beside:
        return Pictures(tuple(beside), None)
    if not filled:
        raise _no_pictures(folder)
    _refuse_splits(folder, folders)
    names = tuple(classes) if classes is not None else tuple(sorted(below))
    unknown = [name for name in filled if name not in names]
    if unknown:
        raise TaskError(
            f"the folder {unknown[0]!r} is none of the {len(names)} classes",
            where=str(folder),
            fix=f"name it in the list of classes; there: {_some(names)}",
        )
    files, labels = [], []
    for label, name in enumerate(names):
        files += below.get(name, [])
        labels += [label] * len(below.get(name, []))
    return Pictures(tuple(files), np.array(labels, dtype=np.int64), names)


def read_classes(file: Path) -> tuple[str, ...]:
    """Class names, one a line, in the order of the model's output.

    Raises:
        TaskError: the file cannot be read, is empty, or names a class twice.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise TaskError(
            f"cannot read the list of classes: {reason}",
            where=str(file),
            fix="write one class a line, in the order of the model's output: classes=FILE",
        ) from None
    names = tuple(line.strip() for line in lines if line.strip())
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice is not None:
        wrong = "is empty" if not names else f"names {twice!r} twice"
        raise TaskError(f"the list of classes {wrong}", where=str(file))
    return names


def remarks_on(found: Pictures, *, listed: bool) -> tuple[str, ...]:
    """What is easily wrong about the labels; `listed` where the order was given."""
    if found.labels is None:
        return ()
    told = []
    if len(found.classes) == 1:
        told.append(
            f"Only one class folder was found ({found.classes[0]}): accuracy on one class says "
            "little. For pictures without labels, name that folder itself."
        )
    numeric = [name for name in found.classes if name.isdecimal()]
    if not listed and numeric == list(found.classes) and sorted(numeric, key=int) != numeric:
        told.append(
            "The class folders are numbers and are taken in the order of their text, 10 before 2, "
            "as torchvision's ImageFolder does; for another order give classes=FILE."
        )
    counted = np.bincount(found.labels, minlength=len(found.classes))
    empty = [name for name, count in zip(found.classes, counted, strict=True) if not count]
    if empty and not listed:
        several = len(empty) > 1
        kept = "they keep their numbers" if several else "it keeps its number"
        told.append(f"No pictures in the class folder{'s' * several} {_some(empty)}; {kept}.")
    return tuple(told)


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Pictures and folders in a folder, sorted by name."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise TaskError(
            f"cannot read the folder of pictures: {reason}",
            where=str(folder),
            fix="name a folder with one folder of pictures for each class, or with pictures alone",
        ) from None
    pictures = [path for path in entries if _is_picture(path.name) and path.is_file()]
    folders = [path for path in entries if not _is_hidden(path.name) and path.is_dir()]
    return pictures, folders


def _walk(folder: Path) -> list[Path]:
    """Pictures of a class's folder and of those below it; links to folders are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        found += [Path(place, name) for name in sorted(files) if _is_picture(name)]
    return found


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in LEFT_BEHIND


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS


def _refuse_splits(folder: Path, folders: Iterable[Path]) -> None:
    """A data set's root, whose folders are train and test, is not what is meant."""
    named = [one for one in folders if one.name.lower() in SPLITS]
    inner = [one for one in named if not _entries(one)[0]]
    if inner and len(named) == len(list(folders)):
        raise TaskError(
            f"the folders {_some([one.name for one in named])} look like parts of a data set, "
            "not like classes",
            where=str(folder),
            fix=f"name the part that judges: images:{folder / named[-1].name}",
        )


def _no_pictures(folder: Path) -> TaskError:
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    holds = f"it holds {_some(others)}" if others else "it is empty"
    return TaskError(
        f"there are no pictures in the folder: {holds}",
        where=str(folder),
        fix=f"pictures end in {', '.join(ENDINGS[:6])}, ...",
    )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
