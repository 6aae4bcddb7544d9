"""Write an archive: the manifest first, then every blob in the order files need them."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lissom.errors import RequestError
from lissom.onnx_file import failing_as_folder_error
from lissom.storage import manifest_bytes
from lissom.storage.ahead import in_order, usable_threads
from lissom.storage.containers.source import FileSource, changed
from lissom.storage.containers.survey import survey
from lissom.storage.frames import END, LENGTH, MAGIC, Header, to_frame
from lissom.storage.layout import BYTES, Layout, Piece, lay_out
from lissom.storage.limits import LARGEST_BLOB, Limits
from lissom.storage.manifest import Blob, check
from lissom.technique import Track, silent

SUFFIX = ".lsm"


@dataclass(frozen=True)
class Packed:
    """What was packed: `original` bytes of `files` files have become `size` bytes at `path`.

    Attributes:
        tensors: how many are known by name.
        repeated: bytes that are there more than once, and stored once.
        notes: what was left out, or could not be parsed.
    """

    path: Path
    size: int
    original: int
    files: int
    tensors: int
    repeated: int
    seconds: float
    notes: tuple[str, ...]


def pack(
    model: Path | str,
    output: Path | str | None = None,
    *,
    threads: int | None = None,
    track: Track = silent,
) -> Packed:
    """Pack a model, a file or a folder, into one archive that gives back the same bytes.

    Without `output` the archive is in the current folder, by the model's name. The model is never
    touched, and the archive appears under its name when it is whole. The same files give the same
    archive, whatever the number of threads.

    Raises:
        ModelError: there is no such model, or it cannot be read, or changes meanwhile.
        RequestError: the output is in the model's folder, or is there and no archive.
        FolderError: the archive cannot be written, or the disk is full.
    """
    started = time.monotonic()
    model = Path(model)
    found = survey(model)
    path = Path(output) if output is not None else Path(_stem(found.name, found.alone) + SUFFIX)
    _check_output(path, model)
    layout = lay_out(found, track=track)
    threads = usable_threads() if threads is None else threads
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with failing_as_folder_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("xb") as out:
            try:
                size = _write(out, layout, threads, track)
                os.replace(beside, path)
            finally:
                beside.unlink(missing_ok=True)
    manifest = layout.manifest
    return Packed(
        path, size, manifest.size, len(manifest.files), len(manifest.tensors),
        manifest.size - sum(blob.size for blob in manifest.blobs),
        time.monotonic() - started, found.notes,
    )  # fmt: skip


def _stem(name: str, alone: bool) -> str:
    return Path(name).stem if alone else name


def _check_output(path: Path, model: Path) -> None:
    inside = model.is_dir() and path.absolute().resolve().is_relative_to(model.resolve())
    if inside or path.is_dir():
        raise RequestError(
            "the archive would be inside the folder that is packed"
            if inside
            else "the output is a folder, and an archive is a file",
            where=str(path),
            fix="name a file elsewhere with -o, such as -o ../model.lsm",
        )
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(MAGIC)) == MAGIC:
                return
        raise RequestError(
            "the output is there already, and it is no archive that could be replaced",
            where=str(path),
            fix="name another file with -o",
        )


def _write(file: BinaryIO, layout: Layout, threads: int, track: Track) -> int:
    """Write the archive; its size in bytes."""
    manifest = manifest_bytes.to_bytes(layout.manifest)
    if len(manifest) > LARGEST_BLOB or layout.manifest.entries > Limits().entries:
        raise RequestError(
            f"there are {len(layout.manifest.tensors):,} tensors in "
            f"{len(layout.manifest.files):,} files: more than an archive lists",
            fix="pack its folders one by one",
        )
    # What a reader would refuse is not written.
    check(layout.manifest, file.name)
    whole = hashlib.sha256()
    frames = track(
        in_order(_frame, zip(layout.pieces, layout.manifest.blobs, strict=True), threads=threads),
        "pack",
        total=len(layout.pieces),
    )
    lengths = bytearray()

    def put(data: bytes) -> None:
        whole.update(data)
        file.write(data)

    put(Header(zlib.crc32(manifest), len(manifest), layout.manifest.size).to_bytes())
    put(to_frame(manifest, BYTES, (len(manifest),)))
    for frame in frames:
        put(frame)
        lengths += LENGTH.pack(len(frame))
    put(bytes(lengths))
    file.write(whole.digest() + END)
    # Whoever packs may remove the original next.
    file.flush()
    os.fsync(file.fileno())
    return file.tell()


def _frame(item: tuple[Piece, Blob]) -> bytes:
    piece, blob = item
    with FileSource(piece.member.path) as source:
        if source.size != piece.member.size:
            raise changed(piece.member.path)
        content = piece.read(source)
    if zlib.crc32(content) != blob.crc:
        raise changed(piece.member.path)
    return to_frame(content, piece.dtype, piece.shape)
