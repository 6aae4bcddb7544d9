"""A manifest as bytes and back. Every count is held against the bytes that are left.

Specified in FORMAT.md, "Manifest"; there is one way to write each manifest.
"""

from __future__ import annotations

from lissom.errors import FormatError
from lissom.storage.bits import varint
from lissom.storage.manifest import Blob, File, Manifest, Range, Tensor

# No number in a manifest is as large; sums of a few of them stay exact in 64 bits.
LARGEST = 1 << 62
LONGEST_NAME, LONGEST_DTYPE, MOST_DIMENSIONS = 1 << 16, 32, 64
# The fewest bytes that an entry takes: what a count is held against before it is believed.
BLOB, RANGE, FILE, TENSOR = 5, 3, 37, 6


def to_bytes(manifest: Manifest) -> bytes:
    """The bytes of a manifest."""
    out = bytearray([manifest.alone])
    out += _text(manifest.name)
    out += varint(len(manifest.blobs))
    for blob in manifest.blobs:
        out += varint(blob.size) + blob.crc.to_bytes(4, "little")
    out += varint(len(manifest.files))
    for file in manifest.files:
        out += _text(file.name) + _text(file.container) + varint(file.size) + file.sha256
        out += varint(len(file.ranges))
        for each in file.ranges:
            out += varint(each.blob) + varint(each.start) + varint(each.length)
    out += varint(len(manifest.tensors))
    for tensor in manifest.tensors:
        out += varint(tensor.file) + _text(tensor.name) + _text(tensor.dtype)
        for number in (len(tensor.shape), *tensor.shape, tensor.offset, tensor.length):
            out += varint(number)
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
    blobs = tuple([Blob(reader.number(), reader.crc()) for _ in range(reader.count(BLOB))])
    files = tuple([_file(reader) for _ in range(reader.count(FILE))])
    tensors = tuple([_tensor(reader) for _ in range(reader.count(TENSOR))])
    if reader.at != len(data):
        raise reader.refuse("goes on after its end")
    return Manifest(name, bool(alone), blobs, files, tensors)


def _file(reader: _Reader) -> File:
    name, container = reader.text(LONGEST_NAME), reader.text(LONGEST_DTYPE)
    size, sha256 = reader.number(), reader.take(32)
    told = reader.numbers(3 * reader.count(RANGE))
    ranges = map(Range, told[::3], told[1::3], told[2::3])
    return File(name, container, size, sha256, tuple(ranges))


def _tensor(reader: _Reader) -> Tensor:
    file, name, dtype = reader.number(), reader.text(LONGEST_NAME), reader.text(LONGEST_DTYPE)
    rank = reader.number()
    if rank > MOST_DIMENSIONS:
        raise reader.refuse(f"gives tensor {name!r} {rank:,} dimensions")
    *shape, offset, length = reader.numbers(rank + 2)
    return Tensor(file, name, dtype, tuple(shape), offset, length)


def _text(text: str) -> bytes:
    data = text.encode()
    return varint(len(data)) + data


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
        at = self.at
        if at < len(self.data) and self.data[at] < 0x80:  # as most are
            self.at = at + 1
            return self.data[at]
        return self.numbers(1)[0]

    def numbers(self, count: int) -> list[int]:
        """So many numbers, one after the other."""
        data, at, found = self.data, self.at, []
        try:
            for _ in range(count):
                value = byte = data[at]
                shift = 0
                while byte > 0x7F and shift < 56:
                    at, shift = at + 1, shift + 7
                    byte = data[at]
                    value += (byte - 1) << shift  # and without the high bit of the one before
                if byte > 0x7F or value >= LARGEST or (byte == 0 and shift):
                    raise self.refuse(
                        "has a number that is too large, or longer than it needs to be"
                    )
                found.append(value)
                at += 1
        except IndexError:
            raise self.refuse("ends too soon") from None
        self.at = at
        return found

    def text(self, longest: int) -> str:
        length = self.number()
        if length > longest:
            raise self.refuse(f"has a name of {length:,} bytes")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.refuse("has a name that is not UTF-8") from None

    def count(self, least: int) -> int:
        """How many entries of at least `least` bytes follow."""
        count = self.number()
        self.entries -= count
        if count * least > len(self.data) - self.at:
            raise self.refuse(f"says {count:,} entries where the bytes left cannot hold them")
        if self.entries < 0:
            raise self.refuse(f"has {-self.entries:,} entries more than the limit")
        return count
