"""Write an archive's files to a disk: beside their place, checked, and then moved there."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lissom.errors import FolderError, FormatError, ModelError, RequestError
from lissom.onnx_file import failing_as_folder_error
from lissom.storage.ahead import usable_threads
from lissom.storage.frames import GET_AGAIN
from lissom.storage.limits import Limits
from lissom.storage.manifest import Manifest
from lissom.storage.stream import Stream
from lissom.technique import Track, silent

READ = 1 << 20
STDIN = "-"


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked, a file or a folder at `path`."""

    path: Path
    manifest: Manifest
    seconds: float


def unpack(
    archive: Path | str,
    output: Path | str | None = None,
    *,
    limits: Limits | None = None,
    threads: int | None = None,
    track: Track = silent,
) -> Unpacked:
    """Give back the files of an archive, byte for byte; "-" reads the archive from stdin.

    Without `output` they are put in the current folder by the name of what was packed. Every
    checksum is checked before a file appears under its name; nothing that is there is overwritten.

    Raises:
        FormatError: it is no archive, is damaged, or is over the limits.
        ModelError: the archive is not there.
        RequestError: there is something already where it should go.
        FolderError: the place is not writable, or has not enough space.
    """
    started = time.monotonic()
    with _opened(archive) as file:
        stream = Stream(file, str(archive), limits or Limits())
        manifest = stream.manifest
        path = _destination(manifest, None if output is None else Path(output))
        beside = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}")
        threads = usable_threads() if threads is None else threads
        with failing_as_folder_error(path):
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            _check_space(manifest.size, path)
            # It is made here and now, so it is no link that waits there for what is written.
            if manifest.alone:
                beside.open("xb").close()
            else:
                beside.mkdir()
            try:
                _write(stream, beside, threads, track, str(archive))
                os.replace(beside, path)
            finally:
                _remove(beside)
    return Unpacked(path, manifest, time.monotonic() - started)


@contextmanager
def _opened(archive: Path | str) -> Iterator[BinaryIO]:
    if str(archive) == STDIN:
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(archive).open("rb"))
        except OSError as error:
            raise ModelError(
                f"the archive cannot be read: {error.strerror}",
                where=str(archive),
                fix="check the path",
            ) from None
        yield file


def _destination(manifest: Manifest, output: Path | None) -> Path:
    path = Path(manifest.name) if output is None else output
    if manifest.alone and output is not None and output.is_dir():
        path = output / manifest.name
    empty = not manifest.alone and path.is_dir() and not path.is_symlink()
    if (path.exists() or path.is_symlink()) and not (empty and not any(path.iterdir())):
        raise RequestError(
            "there is something already where the archive's files would go",
            where=str(path),
            fix="name another place with -o, or remove it first",
        )
    return path


def _check_space(size: int, path: Path) -> None:
    free = shutil.disk_usage(path.absolute().parent).free
    if size > free:
        raise FolderError(
            f"{size:,} bytes would be written, and the disk has {free:,} left",
            where=str(path),
            fix="free some space or choose another disk",
        )


def _write(stream: Stream, root: Path, threads: int, track: Track, where: str) -> None:
    """Write every blob to all its places, in a file or folder that nobody else knows."""
    manifest = stream.manifest
    paths = [root if manifest.alone else root / file.name for file in manifest.files]
    for path in () if manifest.alone else paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("xb").close()
    places = _places(manifest)
    contents = stream.contents(threads=threads)
    with ExitStack() as one_open:
        opened, out = -1, None
        for number, content in enumerate(track(contents, "unpack", total=len(manifest.blobs))):
            view = memoryview(content)
            for file, offset, start, length in places[number]:
                if file != opened or out is None:
                    one_open.close()
                    opened, out = file, one_open.enter_context(paths[file].open("r+b"))
                out.seek(offset)
                out.write(view[start : start + length])
    for path, entry in zip(paths, manifest.files, strict=True):
        if _sha256(path) != entry.sha256:
            raise FormatError(f"the checksum of {entry.name} is wrong", where=where, fix=GET_AGAIN)


def _places(manifest: Manifest) -> list[list[tuple[int, int, int, int]]]:
    """Where each blob goes: file, offset in it, start in the blob, length."""
    places: list[list[tuple[int, int, int, int]]] = [[] for _ in manifest.blobs]
    for number, file in enumerate(manifest.files):
        at = 0
        for each in file.ranges:
            places[each.blob].append((number, at, each.start, each.length))
            at += each.length
    return places


def _sha256(path: Path) -> bytes:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ):
            found.update(piece)
    return found.digest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
