"""Read an archive from front to back, as it comes from a disk, a pipe or a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from lissom.errors import FormatError
from lissom.storage.ahead import in_order
from lissom.storage.blobs import decode_blobs, decode_manifest
from lissom.storage.frames import (
    DIGEST,
    END,
    FRAME,
    GET_AGAIN,
    HEADER,
    LENGTH,
    frame_length,
    read_header,
)
from lissom.storage.limits import Limits

READ = 1 << 20


class Stream:
    """An archive that is read once: first its manifest, then `contents` of the blobs in order.

    Raises:
        FormatError: it is no archive, is damaged, or is over the limits.
    """

    def __init__(self, file: BinaryIO, where: str, limits: Limits) -> None:
        self._file, self._where = file, where
        self._whole = hashlib.sha256()
        head = file.read(HEADER.size)
        header = read_header(head, where)
        self._whole.update(head)
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
