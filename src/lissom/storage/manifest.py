"""What an archive holds, in records: files cut into ranges of blobs, and tensors by name.

How they are written is in `lissom.storage.manifest_bytes`, and both are specified in FORMAT.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from lissom.errors import FormatError, RequestError, unknown
from lissom.storage.limits import LARGEST_BLOB
from lissom.storage.paths import first_clash, why_not_portable

# Of the thousands of names a model may have, an error tells the nearest.
MOST_NAMED = 10

Refuse = Callable[[str], FormatError]


class Blob(NamedTuple):
    """Bytes that are coded as one, at most LARGEST_BLOB of them: their number and CRC-32."""

    size: int
    crc: int


class Range(NamedTuple):
    """The next bytes of a file: `length` bytes of a blob, from `start` on."""

    blob: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class File:
    """A file: its path, the kind of container it is, its bytes, their SHA-256, and its ranges."""

    name: str
    container: str
    size: int
    sha256: bytes
    ranges: tuple[Range, ...]


class Tensor(NamedTuple):
    """A tensor: `length` bytes of a file, from `offset` on."""

    file: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


@dataclass(frozen=True)
class Manifest:
    """All of an archive but the bytes: `alone` where the model was one file.

    Tensors stand in the order of their files and offsets.
    """

    name: str
    alone: bool
    blobs: tuple[Blob, ...]
    files: tuple[File, ...]
    tensors: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def entries(self) -> int:
        """Blobs, files, ranges and tensors together."""
        ranges = sum(len(file.ranges) for file in self.files)
        return len(self.blobs) + len(self.files) + ranges + len(self.tensors)

    @cached_property
    def places(self) -> dict[tuple[int, str], Tensor]:
        """Every tensor by its file and name."""
        return {(tensor.file, tensor.name): tensor for tensor in self.tensors}

    def title(self, tensor: Tensor) -> str:
        """A tensor in words."""
        return f"tensor {tensor.name!r} of {self.files[tensor.file].name}"

    def file(self, name: str) -> int:
        """The number of a file.

        Raises:
            RequestError: there is none of this name.
        """
        for number, file in enumerate(self.files):
            if file.name == name:
                return number
        raise unknown("file of the archive", name, (file.name for file in self.files))

    def tensor(self, name: str) -> Tensor:
        """A tensor by its name, or by `FILE:NAME` where several files have one of that name.

        Raises:
            RequestError: there is none, or there are several.
        """
        found = [tensor for tensor in self.tensors if tensor.name == name]
        full = {f"{self.files[t.file].name}:{t.name}": t for t in self.tensors}
        if len(found) == 1:
            return found[0]
        if name in full:
            return full[name]
        if found:
            keys = ", ".join(key for key, tensor in full.items() if tensor.name == name)
            raise RequestError(f"{len(found)} files have a tensor {name!r}", fix=f"name {keys}")
        names = sorted({tensor.name for tensor in self.tensors})
        near = get_close_matches(name, names, n=MOST_NAMED, cutoff=0.3)
        raise unknown("tensor", name, near or names[:MOST_NAMED])

    @cached_property
    def _starts(self) -> tuple[list[int], ...]:
        """Where the ranges of each file begin in it, and where the last one ends."""
        return tuple(
            list(accumulate((each.length for each in file.ranges), initial=0))
            for file in self.files
        )

    def slices(self, file: int, offset: int, length: int) -> Iterator[Range]:
        """The ranges of blobs that hold a stretch of a file, in order."""
        starts, end = self._starts[file], offset + length
        first = bisect_right(starts, offset) - 1
        for number in range(first, len(self.files[file].ranges)):
            at, each = starts[number], self.files[file].ranges[number]
            if at >= end:
                return
            low, high = max(offset, at), min(end, at + each.length)
            if low < high:
                yield Range(each.blob, each.start + low - at, high - low)

    def owner(self, blob: int) -> str:
        """Whose bytes a blob holds first, in words: for errors."""
        for number, file in enumerate(self.files):
            at = 0
            for each in file.ranges:
                if each.blob == blob:
                    for tensor in self.tensors:
                        if tensor.file == number and 0 <= at - tensor.offset < tensor.length:
                            return self.title(tensor)
                    return f"{file.name}, byte {at:,} and on"
                at += each.length
        return f"blob {blob}"


def check(manifest: Manifest, where: str) -> None:
    """Refuse a manifest whose parts do not fit each other.

    Raises:
        FormatError: a path leads out of its folder, a name is there twice, ranges do not make up
            their file, tensors overlap or leave their file, or a blob belongs to nothing.
    """

    def refuse(what: str) -> FormatError:
        return FormatError(what, where=where, fix="get the archive again from a source you trust")

    for path in (manifest.name, *(file.name for file in manifest.files)):
        reason = why_not_portable(path)
        if reason:
            raise refuse(f"a file's path is refused: {reason}")
    if "/" in manifest.name or not manifest.files:
        raise refuse(f"the archive's own name, {manifest.name!r}, is a path, or it holds no file")
    clash = first_clash(file.name for file in manifest.files)
    if clash is not None:
        raise refuse(f"the path {clash!r} is there twice, or as a file and as a folder")
    if manifest.alone and [file.name for file in manifest.files] != [manifest.name]:
        raise refuse("it says it is one file, and holds others")
    _check_ranges(manifest, refuse)
    _check_tensors(manifest, refuse)


def _check_ranges(manifest: Manifest, refuse: Refuse) -> None:
    used = bytearray(len(manifest.blobs))
    for file in manifest.files:
        for each in file.ranges:
            if each.blob >= len(manifest.blobs):
                raise refuse(f"{file.name} names blob {each.blob}, and there is none")
            if not 0 < each.length <= manifest.blobs[each.blob].size - each.start:
                raise refuse(f"{file.name} names bytes that blob {each.blob} does not have")
            used[each.blob] = 1
        if sum(each.length for each in file.ranges) != file.size:
            raise refuse(f"the ranges of {file.name} do not make up its {file.size:,} bytes")
    if 0 in used:
        raise refuse(f"blob {used.index(0)} belongs to no file")
    for number, blob in enumerate(manifest.blobs):
        if not 0 < blob.size <= LARGEST_BLOB:
            raise refuse(f"blob {number} has {blob.size:,} bytes; {LARGEST_BLOB:,} are allowed")
    if sum(blob.size for blob in manifest.blobs) > manifest.size:
        raise refuse("its blobs hold more bytes than its files have")


def _check_tensors(manifest: Manifest, refuse: Refuse) -> None:
    file, offset, last = 0, 0, (0, 0)
    for tensor in manifest.tensors:
        if tensor.file >= len(manifest.files):
            raise refuse(f"tensor {tensor.name!r} is of a file that is not there")
        if tensor.offset + tensor.length > manifest.files[tensor.file].size:
            raise refuse(f"{manifest.title(tensor)} leaves its file")
        if (tensor.file, tensor.offset) < (file, offset):
            raise refuse(f"{manifest.title(tensor)} is not in its place")
        if tensor.file != file:
            last = (0, 0)
        file, offset = tensor.file, tensor.offset
        # What has no bytes overlaps nothing, and what has the same ones is tied.
        if tensor.length and (tensor.offset, tensor.length) != last:
            if tensor.offset < sum(last):
                raise refuse(f"{manifest.title(tensor)} overlaps the one before it")
            last = (tensor.offset, tensor.length)
    if len(manifest.places) != len(manifest.tensors):
        raise refuse(f"{_first_twice(manifest)} is there twice")


def _first_twice(manifest: Manifest) -> str:
    seen: set[tuple[int, str]] = set()
    for tensor in manifest.tensors:
        if (tensor.file, tensor.name) in seen:
            return manifest.title(tensor)
        seen.add((tensor.file, tensor.name))
    return ""
