"""Bytes that can be read at any place: a file, or a file inside an archive."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from lissom.errors import ModelError
from lissom.storage.closing import Closing

# What one look at a container brings into memory: headers are small and lie close together.
WINDOW = 1 << 16


class Source(Protocol):
    """`size` bytes, of which `read` gives exactly those asked for.

    `near` gives as many as are at hand from `offset` on, at least one where there is one.
    """

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def near(self, offset: int) -> bytes: ...


class FileSource(Closing):
    """A regular file; what is read of it is read by position, so threads may share it.

    It is read and not mapped: a mapped file that someone cuts short kills its reader.

    Raises:
        ModelError: the file cannot be opened, or is none (a pipe, a device, a folder).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Not blocking, or the opening of a pipe waits for whoever writes to it.
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ModelError(
                f"{path.name} cannot be read: {error.strerror}", where=str(path)
            ) from None
        found = os.fstat(self._handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._handle)
            raise ModelError(
                f"{path.name} is no regular file", where=str(path), fix="leave it out of the folder"
            )
        self.size = found.st_size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset` on.

        Raises:
            ModelError: the file has become shorter, or the disk fails.
        """
        pieces = []
        try:
            while length:
                piece = os.pread(self._handle, length, offset)
                if not piece:
                    raise changed(self.path)
                pieces.append(piece)
                offset, length = offset + len(piece), length - len(piece)
        except OSError as error:
            raise ModelError(
                f"{self.path.name} cannot be read: {error.strerror}", where=str(self.path)
            ) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def near(self, offset: int) -> bytes:
        """The next bytes, as many as one look takes.

        Raises:
            ModelError: the file has become shorter, or the disk fails.
        """
        return self.read(offset, max(0, min(WINDOW, self.size - offset)))

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill `out` with the bytes from `offset` on.

        Raises:
            ModelError: the file has become shorter, or the disk fails.
        """
        try:
            while out:
                count = os.preadv(self._handle, [out], offset)
                if not count:
                    raise changed(self.path)
                offset, out = offset + count, out[count:]
        except OSError as error:
            raise ModelError(
                f"{self.path.name} cannot be read: {error.strerror}", where=str(self.path)
            ) from None

    def close(self) -> None:
        """Close it; once more does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset` on."""
        return self._data[offset : offset + length]

    def near(self, offset: int) -> bytes:
        """The next bytes, as many as one look takes."""
        return self.read(offset, WINDOW)


def changed(path: Path) -> ModelError:
    """The error for a file that is not what it was a moment ago."""
    return ModelError(
        f"{path.name} changed while it was read",
        where=str(path),
        fix="wait until whatever writes it has finished, then do it again",
    )


class Window:
    """Short looks at a source, most of them answered from the last piece that was read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._piece, self._start = b"", 0

    def piece(self, offset: int) -> tuple[bytes, int]:
        """A piece that holds the byte at `offset`, and where it begins."""
        if not 0 <= offset - self._start < len(self._piece):
            self._piece, self._start = self._source.near(offset), offset
        return self._piece, self._start

    def look(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on."""
        piece, start = self.piece(offset)
        found = piece[offset - start : offset - start + length]
        return found if len(found) == length else self._source.read(offset, length)
