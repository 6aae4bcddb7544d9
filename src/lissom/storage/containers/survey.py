"""The files of a model, each with the tensors that are in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lissom.errors import ModelError
from lissom.storage.containers import gguf, onnx, safetensors
from lissom.storage.containers.ranges import NotThisFormat, TensorRange, tidy
from lissom.storage.containers.source import FileSource
from lissom.storage.paths import why_not_portable

# In an artifact's folder: the finished steps of the run that made it, which are no part of it.
STEPS, MANIFEST = ".lissom", "manifest.json"


@dataclass(frozen=True)
class Member:
    """One file that is packed: its path inside the model, "/" between folders.

    `container` is "onnx", "safetensors", "gguf", "data" (external data of an ONNX file) or
    "bytes".
    """

    name: str
    path: Path
    size: int
    container: str
    tensors: tuple[TensorRange, ...]


@dataclass(frozen=True)
class Survey:
    """What is packed: `alone` where the model is one file, and not several beside each other."""

    name: str
    alone: bool
    members: tuple[Member, ...]
    notes: tuple[str, ...]


def survey(model: Path) -> Survey:
    """The files of a model file, or of a folder, sorted by path.

    An ONNX file brings its external data. What cannot be parsed is there as plain bytes.

    Raises:
        ModelError: there is nothing there, a file cannot be read, or its name could not be given
            back everywhere.
    """
    notes: list[str] = []
    if model.is_dir():
        root = model.resolve()
        found = dict(_listed(root, notes))
        if not found:
            raise ModelError("the folder is empty", where=str(model), fix="name another folder")
        members = _members(found, notes, outer=False)
        return Survey(_name(root.name), False, members, (*notes,))
    if not model.exists():
        raise ModelError("there is no such file or folder", where=str(model), fix="check the path")
    members = _members({model.name: model}, notes, outer=True)
    alone = len(members) == 1
    return Survey(model.name if alone else _name(model.stem), alone, members, (*notes,))


def _name(name: str) -> str:
    """The name of a folder of files; it is only a suggestion, so any will do for a strange one."""
    return "model" if why_not_portable(name) else name


def _listed(root: Path, notes: list[str]) -> Iterator[tuple[str, Path]]:
    artifact = (root / MANIFEST).is_file()
    for folder, folders, files in os.walk(root, onerror=_unreadable):
        folders.sort()
        here = Path(folder)
        if artifact and here == root and STEPS in folders:
            folders.remove(STEPS)
            notes.append(f"left out: {STEPS}, the finished steps of the run that made the artifact")
        for name in [each for each in folders if (here / each).is_symlink()]:
            notes.append(f"left out: {(here / name).relative_to(root)}, a link to a folder")
        for name in files:
            path = here / name
            # A link to a file is packed as the file: caches of downloads are made of them.
            if not stat.S_ISREG(_status(path)):
                raise ModelError(
                    f"{name} is no regular file", where=str(path), fix="leave it out of the folder"
                )
            yield path.relative_to(root).as_posix(), path


def _status(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}", where=str(path)) from None


def _unreadable(error: OSError) -> None:
    raise ModelError(
        f"a folder cannot be read: {error.strerror}", where=str(error.filename)
    ) from error


def _members(found: dict[str, Path], notes: list[str], *, outer: bool) -> tuple[Member, ...]:
    """Parse the files; with `outer`, external data join them that are not among them yet."""
    parsed: dict[str, tuple[str, list[TensorRange], int]] = {}
    external: dict[str, list[TensorRange]] = {}
    for name, path in list(found.items()):
        reason = why_not_portable(name)
        if reason:
            raise ModelError(
                f"a file's name cannot be given back everywhere: {reason}",
                where=os.fsencode(str(path)).decode(errors="backslashreplace"),
                fix="give it another name",
            )
        with FileSource(path) as source:
            container, ranges, beside = _parsed(source, path, notes)
            parsed[name] = container, ranges, source.size
        for location, each in beside:
            data = _beside(name, location)
            if data is None:
                notes.append(f"{name} keeps {each.name!r} outside its folder, which is not packed")
            else:
                external.setdefault(data, []).append(each)
    for name, ranges in external.items():
        if name not in found and outer:
            _add(name, found, parsed, notes)
        if name in parsed and parsed[name][0] == "bytes":
            parsed[name] = "data", ranges, parsed[name][2]
    return tuple(
        Member(name, found[name], size, container, tidy(ranges, size))
        for name, (container, ranges, size) in sorted(parsed.items())
    )


def _add(
    name: str,
    found: dict[str, Path],
    parsed: dict[str, tuple[str, list[TensorRange], int]],
    notes: list[str],
) -> None:
    path = next(iter(found.values())).parent / name
    if not path.is_file():
        notes.append(f"the external data {name} are not there, so they are not packed")
        return
    with FileSource(path) as source:
        found[name], parsed[name] = path, ("bytes", [], source.size)


def _parsed(
    source: FileSource, path: Path, notes: list[str]
) -> tuple[str, list[TensorRange], list[tuple[str, TensorRange]]]:
    """A file's container and tensors, and those it has in files beside it."""
    suffix = path.suffix.lower()
    try:
        if source.size >= 4 and source.read(0, 4) == gguf.MAGIC:
            return "gguf", gguf.tensors(source), []
        if suffix == ".safetensors":
            return "safetensors", safetensors.tensors(source), []
        if suffix == ".onnx":
            tensors = list(onnx.all_tensors(source))
            inside = [each for each in map(onnx.inline_range, tensors) if each is not None]
            beside = [
                (tensor.location, each)
                for tensor in tensors
                if tensor.location and (each := onnx.external_range(tensor)) is not None
            ]
            return "onnx", inside, beside
    except NotThisFormat as error:
        notes.append(f"{path.name} is packed as plain bytes: as {suffix or 'GGUF'} it has {error}")
    return "bytes", [], []


def _beside(name: str, location: str) -> str | None:
    """The path of external data, seen from the model's folder; None if it leads elsewhere."""
    folder, _, _ = name.rpartition("/")
    location = location.removeprefix("./")
    path = f"{folder}/{location}" if folder else location
    return None if why_not_portable(path) else path
