"""Read an archive from front to back, as it comes from a disk, a pipe or a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from lissom.errors import FormatError
from lissom.storage import codec, manifest_bytes
from lissom.storage.ahead import in_order
from lissom.storage.frames import (
    DIGEST,
    END,
    FRAME,
    GET_AGAIN,
    HEADER,
    LENGTH,
    Header,
    check_content,
    frame_length,
    from_frame,
    parts_of,
    read_header,
)
from lissom.storage.limits import Limits
from lissom.storage.manifest import Manifest, check

READ = 1 << 20


class Stream:
    """An archive that is read once: first its manifest, then `contents` of the blobs in order.

    Raises:
        FormatError: it is no archive, is damaged, or is over the limits.
    """

    def __init__(self, file: BinaryIO, where: str, limits: Limits) -> None:
        self._file, self._where = file, where
        self._whole = hashlib.sha256()
        header = read_header(self._take(HEADER.size, "its header"), where)
        limits.check_content(header.content, where)
        self.manifest = decode_manifest(
            memoryview(self._frame(header.manifest, "its manifest")), header, limits, where
        )

    def contents(self, *, threads: int) -> Iterator[bytearray]:
        """The content of every blob, in order; the whole archive is checked at the end.

        Raises:
            FormatError: a blob or the trailer is damaged; its tensor or file is named.
        """
        blobs = self.manifest.blobs
        lengths = bytearray()

        def frames() -> Iterator[tuple[int, bytes]]:
            for number, blob in enumerate(blobs):
                frame = self._frame(blob.size, number)
                lengths.extend(LENGTH.pack(len(frame)))
                yield number, frame

        def decoded(item: tuple[int, bytes]) -> bytearray:
            number, frame = item
            content = bytearray(blobs[number].size)
            part = number, memoryview(frame), memoryview(content)
            decode_blobs(self.manifest, [part], self._where)
            return content

        yield from in_order(decoded, frames(), threads=threads)
        if self._take(len(lengths), "its trailer") != lengths:
            raise self._refuse("its trailer does not have the lengths of its blobs")
        digest = self._whole.digest()  # of all that came before it
        tail = self._take(DIGEST + len(END), "its trailer")
        if tail != digest + END:
            raise self._refuse("the checksum of the whole archive is wrong")
        if self._file.read(1):
            raise self._refuse("it goes on after its end")

    def _frame(self, size: int, whose: int | str) -> bytes:
        head = self._take(FRAME.size, whose)
        try:
            length = frame_length(head, size)
        except FormatError as error:
            raise self._refuse(f"{self._named(whose)} is damaged: {error.what}") from None
        return head + self._take(length - FRAME.size, whose)

    def _take(self, length: int, whose: int | str) -> bytes:
        # In pieces: what a length says is believed as far as there are bytes.
        pieces, left = [], length
        while left:
            piece = self._file.read(min(left, READ))
            if not piece:
                raise self._refuse(f"it is cut short within {self._named(whose)}")
            pieces.append(piece)
            left -= len(piece)
            self._whole.update(piece)
        return b"".join(pieces)

    def _named(self, whose: int | str) -> str:
        return whose if isinstance(whose, str) else self.manifest.owner(whose)

    def _refuse(self, what: str) -> FormatError:
        return FormatError(f"the archive is damaged: {what}", where=self._where, fix=GET_AGAIN)


def decode_manifest(frame: memoryview, header: Header, limits: Limits, where: str) -> Manifest:
    """The manifest in a frame, checked.

    Raises:
        FormatError: it is damaged, over the limits, or its parts do not fit each other.
    """
    content = bytearray(header.manifest)
    try:
        from_frame(frame, memoryview(content), header.crc)
    except FormatError as error:
        raise FormatError(
            f"the archive's manifest is damaged: {error.what}", where=where, fix=GET_AGAIN
        ) from None
    found = manifest_bytes.from_bytes(bytes(content), entries=limits.entries, where=where)
    check(found, where)
    if found.size != header.content:
        raise FormatError(
            f"the archive says it holds {header.content:,} bytes, and its files have "
            f"{found.size:,}",
            where=where,
            fix=GET_AGAIN,
        )
    return found


def decode_blobs(
    manifest: Manifest, items: Sequence[tuple[int, memoryview, memoryview]], where: str
) -> None:
    """Decode blobs, given as their numbers, their frames and what to fill, of their size.

    Raises:
        FormatError: one is damaged; the tensor or file it belongs to is named.
    """
    try:
        codec.decode_together([(*parts_of(frame), out) for _, frame, out in items])
    except FormatError:
        # Which one it was, each by itself tells.
        for number, frame, out in items:
            with _named(manifest, number, where):
                from_frame(frame, out, manifest.blobs[number].crc)
        raise
    for number, _, out in items:
        with _named(manifest, number, where):
            check_content(out, manifest.blobs[number].crc)


@contextmanager
def _named(manifest: Manifest, number: int, where: str) -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise FormatError(
            f"{manifest.owner(number)} is damaged in the archive: {error.what}",
            where=where,
            fix=GET_AGAIN,
        ) from None
