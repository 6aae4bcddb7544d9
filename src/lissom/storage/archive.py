"""Read parts of an archive: its manifest, one tensor, a stretch of a file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lissom.errors import FormatError, ModelError
from lissom.storage.blobs import decode_blobs, decode_manifest
from lissom.storage.closing import Closing
from lissom.storage.containers.source import FileSource
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
from lissom.storage.limits import LARGEST_BLOB, LARGEST_EXCESS, LARGEST_SHARED, Limits
from lissom.storage.manifest import Range, Tensor

# Bytes of content that are decoded in one go where more is asked for.
TOGETHER = 1 << 24
# Blobs of small tensors that are kept: those of a layer are in several, and so are the next's.
MOST_KEPT = 16


class Archive(Closing):
    """An open archive. Its file's length is proven when it is opened, its blobs when they are read.

    Threads may share it.

    Raises:
        FormatError: it is no archive, is damaged or cut short, or is over the limits.
        ModelError: there is no such file, or it cannot be read.
    """

    def __init__(self, path: Path | str, limits: Limits | None = None) -> None:
        self.path = Path(path)
        self._where = str(path)
        limits = limits or Limits()
        if not self.path.exists():
            raise ModelError("there is no such archive", where=self._where, fix="check the path")
        self._source = FileSource(self.path)
        self._kept = threading.local()
        self._lately: tuple[tuple[int, memoryview], ...] = ()
        try:
            self._open(limits)
        except BaseException:
            self.close()
            raise

    def _open(self, limits: Limits) -> None:
        source = self._source
        header = read_header(source.read(0, min(HEADER.size, source.size)), self._where)
        limits.check_content(header.content, self._where)
        frame = self._manifest_frame(header.manifest)
        self.manifest = decode_manifest(memoryview(frame), header, limits, self._where)
        blobs = self.manifest.blobs
        trailer = LENGTH.size * len(blobs) + DIGEST + len(END)
        start = source.size - trailer
        if start < 0 or source.read(source.size - len(END), len(END)) != END:
            raise self._refuse("it is cut short, or goes on after its end")
        table = source.read(start, LENGTH.size * len(blobs))
        self.stored = tuple(length for (length,) in LENGTH.iter_unpack(table))
        self._starts = [HEADER.size + len(frame)]
        for length in self.stored:
            self._starts.append(self._starts[-1] + length)
        if self._starts[-1] != start:
            raise self._refuse("the lengths in its trailer do not make up the file")
        for number, length in enumerate(self.stored):
            if not FRAME.size <= length <= FRAME.size + blobs[number].size + LARGEST_EXCESS:
                raise self._refuse(
                    f"{self.manifest.owner(number)} is damaged: it says {length:,} stored bytes "
                    f"hold {blobs[number].size:,}"
                )

    def _manifest_frame(self, size: int) -> bytes:
        left = self._source.size - HEADER.size
        head = self._source.read(HEADER.size, min(FRAME.size, left))
        try:
            length = frame_length(head, size) if len(head) == FRAME.size else left + 1
        except FormatError as error:
            raise self._refuse(f"its manifest is damaged: {error.what}") from None
        if length > left:
            raise self._refuse("its manifest is cut short")
        return self._source.read(HEADER.size, length)

    def _refuse(self, what: str) -> FormatError:
        return FormatError(f"the archive is damaged: {what}", where=self._where, fix=GET_AGAIN)

    def blob(self, number: int) -> memoryview:
        """The content of a blob, checked.

        Raises:
            FormatError: it is damaged; the tensor or file it belongs to is named.
        """
        return self.contents([number])[0]

    def contents(self, numbers: Sequence[int]) -> list[memoryview]:
        """The contents of blobs, checked; several at once take less time than one by one.

        Raises:
            FormatError: one is damaged; the tensor or file it belongs to is named.
        """
        # Not zeroed before: what is filled anyway.
        found = [np.empty(self.manifest.blobs[n].size, np.uint8).data for n in numbers]
        self.fill(numbers, found)
        return found

    def fill(self, numbers: Sequence[int], outs: Sequence[memoryview]) -> None:
        """Decode blobs into memory of their sizes, and check them.

        Raises:
            FormatError: one is damaged; the tensor or file it belongs to is named.
        """
        frames, at = self._memory(sum(self.stored[number] for number in numbers)), 0
        items = []
        for number, out in zip(numbers, outs, strict=True):
            frame = frames[at : at + self.stored[number]]
            self._source.read_into(self._starts[number], frame)
            items.append((number, frame, out))
            at += len(frame)
        decode_blobs(self.manifest, items, self._where)

    def _memory(self, size: int) -> memoryview:
        """Memory that this thread's next call takes again: new memory costs as much as reading into
        it."""
        kept: memoryview = getattr(self._kept, "memory", memoryview(b""))
        if len(kept) < size:
            kept = self._kept.memory = np.empty(size, np.uint8).data
        return kept[:size]

    def read(self, file: int, offset: int, length: int) -> bytearray:
        """A stretch of a file; only the blobs that hold it are decoded.

        Raises:
            FormatError: one of them is damaged.
        """
        found = bytearray(length)
        at = 0
        whole: list[tuple[int, memoryview]] = []
        for each in self.manifest.slices(file, offset, length):
            out = memoryview(found)[at : at + each.length]
            at += each.length
            if each.length < self.manifest.blobs[each.blob].size:
                out[:] = self._shared(each.blob)[each.start : each.start + each.length]
                continue
            whole.append((each.blob, out))
            if sum(len(part) for _, part in whole) >= TOGETHER:
                self._fill_all(whole)
        self._fill_all(whole)
        return found

    def _fill_all(self, parts: list[tuple[int, memoryview]]) -> None:
        """Fill what is listed, and empty the list."""
        self.fill([blob for blob, _ in parts], [out for _, out in parts])
        parts.clear()

    def _shared(self, number: int) -> memoryview:
        """A blob that holds more than what is asked for; the rest of it may be asked for next."""
        for known, content in self._lately:
            if known == number:
                return content
        content = self.blob(number)
        if len(content) <= LARGEST_SHARED:
            # Replaced whole, so that threads need no lock.
            self._lately = (*self._lately[1 - MOST_KEPT :], (number, content))
        return content

    def tensor(self, tensor: Tensor) -> bytearray:
        """The bytes of a tensor.

        Raises:
            FormatError: they are damaged.
        """
        return self.read(tensor.file, tensor.offset, tensor.length)

    def stored_bytes(self, tensor: Tensor) -> int | None:
        """Bytes a tensor takes in the archive, or None for one that is stored among others."""
        found = 0
        for each in self.manifest.slices(tensor.file, tensor.offset, tensor.length):
            if each.length != self.manifest.blobs[each.blob].size:
                return None
            found += self.stored[each.blob]
        return found

    @cached_property
    def size(self) -> int:
        """Bytes of the archive."""
        return self._source.size

    def source(self, file: int) -> PackedSource:
        """A file of the archive, to be read at any place."""
        return PackedSource(self, file)

    def close(self) -> None:
        self._source.close()


class PackedSource:
    """A file inside an archive as a source of bytes.

    The blobs that were read last are kept, no more bytes of them than the largest may have: what
    is between tensors alternates with small tensors, and they are in different blobs.
    """

    def __init__(self, archive: Archive, file: int) -> None:
        self._archive, self._file = archive, file
        self.size = archive.manifest.files[file].size
        self._kept: dict[int, memoryview] = {}

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset` on.

        Raises:
            FormatError: a blob that holds them is damaged.
        """
        slices = self._archive.manifest.slices(self._file, offset, length)
        return b"".join([self._slice(each) for each in slices])

    def near(self, offset: int) -> bytes:
        """The bytes up to where the next tensor begins, which may be large and is not decoded.

        Raises:
            FormatError: the blob that holds them is damaged.
        """
        slices = self._archive.manifest.slices(self._file, offset, self.size - offset)
        return next((self._slice(each) for each in slices), b"")

    def _slice(self, each: Range) -> bytes:
        if each.blob not in self._kept:
            content = self._archive.blob(each.blob)
            while self._kept and sum(map(len, self._kept.values())) + len(content) > LARGEST_BLOB:
                del self._kept[next(iter(self._kept))]
            self._kept[each.blob] = content
        return bytes(self._kept[each.blob][each.start : each.start + each.length])
