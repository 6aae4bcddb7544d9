"""A manifest as bytes and back. Every count is held against the bytes that are left.

Specified in FORMAT.md, "Manifest"; there is one way to write each manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lissom.errors import FormatError
from lissom.storage.containers.protobuf import to_varint
from lissom.storage.manifest import Blob, File, Manifest, Range, Tensor

T = TypeVar("T")
# No number in a manifest is as large; sums of a few of them stay exact in 64 bits.
LARGEST = 1 << 62
LONGEST_NAME, LONGEST_DTYPE, MOST_DIMENSIONS = 1 << 16, 32, 64
# The fewest bytes that an entry takes: what a count is held against before it is believed.
BLOB, RANGE, FILE, TENSOR = 5, 3, 37, 6


def to_bytes(manifest: Manifest) -> bytes:
    """The bytes of a manifest."""
    out = bytearray([manifest.alone])
    out += _text(manifest.name)
    out += to_varint(len(manifest.blobs))
    for blob in manifest.blobs:
        out += to_varint(blob.size) + blob.crc.to_bytes(4, "little")
    out += to_varint(len(manifest.files))
    for file in manifest.files:
        out += _text(file.name) + _text(file.container) + to_varint(file.size) + file.sha256
        out += to_varint(len(file.ranges))
        for each in file.ranges:
            out += to_varint(each.blob) + to_varint(each.start) + to_varint(each.length)
    out += to_varint(len(manifest.tensors))
    for tensor in manifest.tensors:
        out += to_varint(tensor.file) + _text(tensor.name) + _text(tensor.dtype)
        for number in (len(tensor.shape), *tensor.shape, tensor.offset, tensor.length):
            out += to_varint(number)
    return bytes(out)


def from_bytes(data: bytes, *, entries: int, where: str) -> Manifest:
    """The manifest that these bytes are; that its parts fit each other is checked elsewhere.

    Raises:
        FormatError: they end too soon or too late, a number or text is none, or there are more
            than `entries` entries.
    """
    reader = _Reader(data, entries, where)
    alone = reader.number()
    if alone > 1:
        raise reader.refuse("is neither one file nor several")
    name = reader.text(LONGEST_NAME)
    blobs = reader.several(BLOB, lambda: Blob(reader.number(), reader.crc()))
    files = reader.several(FILE, lambda: _file(reader))
    tensors = reader.several(TENSOR, lambda: _tensor(reader))
    if reader.at != len(data):
        raise reader.refuse("goes on after its end")
    return Manifest(name, bool(alone), blobs, files, tensors)


def _file(reader: _Reader) -> File:
    name, container = reader.text(LONGEST_NAME), reader.text(LONGEST_DTYPE)
    size, sha256 = reader.number(), reader.take(32)
    ranges = reader.several(RANGE, lambda: Range(reader.number(), reader.number(), reader.number()))
    return File(name, container, size, sha256, ranges)


def _tensor(reader: _Reader) -> Tensor:
    file, name, dtype = reader.number(), reader.text(LONGEST_NAME), reader.text(LONGEST_DTYPE)
    rank = reader.number()
    if rank > MOST_DIMENSIONS:
        raise reader.refuse(f"gives tensor {name!r} {rank:,} dimensions")
    shape = tuple([reader.number() for _ in range(rank)])
    return Tensor(file, name, dtype, shape, reader.number(), reader.number())


def _text(text: str) -> bytes:
    data = text.encode()
    return to_varint(len(data)) + data


class _Reader:
    def __init__(self, data: bytes, entries: int, where: str) -> None:
        self.data, self.entries, self.where = data, entries, where
        self.at = 0

    def refuse(self, what: str) -> FormatError:
        return FormatError(
            f"the archive's manifest {what}", where=self.where, fix="get the archive again"
        )

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self.data):
            raise self.refuse("ends too soon")
        found = self.data[self.at : end]
        self.at = end
        return found

    def crc(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def number(self) -> int:
        data, at, value = self.data, self.at, 0
        if at < len(data) and data[at] < 0x80:  # as nearly all are
            self.at = at + 1
            return data[at]
        for shift in range(0, 63, 7):
            if at >= len(data):
                raise self.refuse("ends too soon")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (byte == 0 and shift) or value >= LARGEST:
                    break
                self.at = at
                return value
        raise self.refuse("has a number that is too large, or longer than it needs to be")

    def text(self, longest: int) -> str:
        length = self.number()
        if length > longest:
            raise self.refuse(f"has a name of {length:,} bytes")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.refuse("has a name that is not UTF-8") from None

    def several(self, least: int, one: Callable[[], T]) -> tuple[T, ...]:
        """A count and as many entries, each of at least `least` bytes."""
        count = self.number()
        self.entries -= count
        if count * least > len(self.data) - self.at:
            raise self.refuse(f"says {count:,} entries where the bytes left cannot hold them")
        if self.entries < 0:
            raise self.refuse(f"has {-self.entries:,} entries more than the limit")
        return tuple([one() for _ in range(count)])
