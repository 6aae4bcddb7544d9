"""The output folder: ours or new, held by one run at a time, nobody else's files overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lissom.artifact import MANIFEST, read_manifest
from lissom.errors import FolderError
from lissom.model import Model
from lissom.recipe.store import Store, digest

# Where compress keeps its finished steps; a folder that has it is ours.
WORKSPACE = ".lissom"


@contextmanager
def workspace(folder: Path, model: Model, waiting: Callable[[], None]) -> Iterator[Store]:
    """The store of an output folder, held for one run.

    Raises:
        FolderError: the folder is not ours, or not writable.
    """
    check_folder(folder, model)
    store = Store(folder / WORKSPACE)
    with store.alone(waiting):
        check_folder(folder, model)  # the run that was waited for may have been of another model
        yield store


def first_usable(folders: Iterable[Path], model: Model | None = None) -> Path | None:
    """The first folder that steps may be kept in, there or not yet; None where none may."""
    for folder in folders:
        with suppress(FolderError):
            check_folder(folder, model)
            # Of a folder that is not there yet, what it will lie in.
            if os.access(folder if folder.exists() else folder.absolute().parent, os.W_OK):
                return folder
    return None


def check_folder(folder: Path, model: Model | None = None) -> None:
    """Refuse to write among files that are not lissom's, over the model itself, or over the
    artifact of another model.

    Raises:
        FolderError: the path is a file, a folder with other content, the model's own folder, or
            holds what was made of another model.
    """
    names = _names_in(folder)
    if names and not _is_ours(folder, names):
        raise FolderError(
            "the output folder is not empty and was not made by lissom",
            where=str(folder),
            fix="name a new or empty folder with -o",
        )
    file = model.path if model is not None else None
    if names and file is not None and file.resolve().parent == folder.resolve():
        raise FolderError(
            f"the model {file.name} lies in the output folder, where the result would replace it",
            where=str(folder),
            fix="name another folder with -o, or move the model elsewhere",
        )
    if model is not None and MANIFEST in names:
        _refuse_another(folder, model)


def _refuse_another(folder: Path, model: Model) -> None:
    """A result is replaced by one of the same model: the same content, or, trained again, what
    the user calls the same."""
    original = read_manifest(folder).original
    if model.kind == "onnx":
        called, before = typed(model), str(original.get("file") or "")
        same = called == before and called == model.spec  # of an absolute path one part is known
        same = same or digest(model=model.digest()) == original.get("digest")
    else:
        called, before = model.name, str(original.get("name") or "")
        same = called == before and not original.get("file")
    if not same:
        raise FolderError(
            f"the folder holds what was made of another model, "
            f"{original.get('file') or original.get('name')}, which this result would replace",
            where=str(folder),
            fix="name another folder with -o, or remove this one first",
        )


def typed(model: Model) -> str:
    """The model's file as the user wrote it, but no path of this machine; "" if it is none."""
    if model.path is None:
        return ""
    return model.path.name if model.path.is_absolute() else str(model.path)


def _is_ours(folder: Path, names: set[str]) -> bool:
    """Whether it holds our finished steps, or an artifact whose steps were deleted."""
    if WORKSPACE in names or MANIFEST not in names:
        return WORKSPACE in names
    try:
        read_manifest(folder)
    except FolderError:  # other programs call files so too
        return False
    return True


def _names_in(folder: Path) -> set[str]:
    """The entries of a folder, none if it does not exist."""
    try:
        return {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except NotADirectoryError:
        raise FolderError(
            "the output is a file, not a folder" if folder.is_file() else "a file is in the way",
            where=str(folder),
            fix="name a folder with -o",
        ) from None
    except OSError as error:
        raise FolderError(
            f"the output folder cannot be read: {error.strerror or error}",
            where=str(folder),
            fix="name another folder with -o",
        ) from None


def refuse_to_overwrite(folder: Path, files: Iterable[str], model: Model) -> None:
    """Refuse to replace files of these names, or a manifest, in a folder lissom did not make, and
    the artifact of another model than the one whose result is to be saved.

    Raises:
        FolderError: it holds one of them.
    """
    names = _names_in(folder)
    taken = sorted(names.intersection({*files, MANIFEST}))
    if taken and not _is_ours(folder, names):
        raise FolderError(
            f"the folder holds {', '.join(taken)}, not written by lissom",
            where=str(folder),
            fix="save to a new folder, or move these files away",
        )
    if MANIFEST in taken:
        _refuse_another(folder, model)
