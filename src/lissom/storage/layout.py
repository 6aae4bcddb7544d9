"""How files are cut into blobs: a tensor is one, or several if it is large; the rest is another.

All of it is decided before anything is coded, so that a manifest can stand first in an archive.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lissom.storage.containers.gguf import TYPES
from lissom.storage.containers.ranges import TensorRange
from lissom.storage.containers.source import FileSource, changed
from lissom.storage.containers.survey import Member, Survey
from lissom.storage.limits import LARGEST_BLOB, LARGEST_SHARED, SMALLEST_ALONE
from lissom.storage.manifest import Blob, File, Manifest, Range, Tensor
from lissom.technique import Track, silent

READ = 1 << 20
BYTES = "BYTES"
GGUF_BLOCK = {name: size for name, values, size in TYPES.values() if values > 1}


@dataclass(frozen=True)
class Piece:
    """The content of one blob: stretches (offset, length) of one file, one after the other."""

    member: Member
    stretches: tuple[tuple[int, int], ...]
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(length for _, length in self.stretches)

    def read(self, source: FileSource) -> bytes:
        """Its bytes, from the member's opened file."""
        return b"".join([source.read(*stretch) for stretch in self.stretches])


@dataclass(frozen=True)
class Layout:
    """A manifest, and for each of its blobs where the content is read from."""

    manifest: Manifest
    pieces: tuple[Piece, ...]


def lay_out(survey: Survey, *, track: Track = silent) -> Layout:
    """Cut the files into blobs, each content once, and read every byte for its checksums.

    Raises:
        ModelError: a file cannot be read, or changes meanwhile.
    """
    pieces: list[Piece] = []
    blobs: list[Blob] = []
    known: dict[Blob, list[int]] = {}
    files, tensors = [], []
    for number, member in enumerate(track(survey.members, "read")):
        with FileSource(member.path) as source:
            if source.size != member.size:
                raise changed(member.path)
            ranges: list[tuple[int, Range]] = []
            for piece in cut(member):
                content = piece.read(source)
                blob = Blob(len(content), zlib.crc32(content))
                same = [at for at in known.get(blob, ()) if _content(pieces[at]) == content]
                at = same[0] if same else len(blobs)
                if not same:
                    known.setdefault(blob, []).append(at)
                    blobs.append(blob)
                    pieces.append(piece)
                start = 0
                for offset, length in piece.stretches:
                    ranges.append((offset, Range(at, start, length)))
                    start += length
            ordered = tuple(each for _, each in sorted(ranges, key=lambda pair: pair[0]))
            files.append(File(member.name, member.container, member.size, _sha256(source), ordered))
        tensors += [
            Tensor(number, t.name, t.dtype, t.shape, t.offset, t.length) for t in member.tensors
        ]
    manifest = Manifest(survey.name, survey.alone, tuple(blobs), tuple(files), tuple(tensors))
    return Layout(manifest, tuple(pieces))


def cut(member: Member) -> Iterator[Piece]:
    """The pieces a file is made of: its tensors, and first what is between them."""
    seen: set[tuple[int, int]] = set()
    large: list[TensorRange] = []
    small: list[TensorRange] = []
    for each in member.tensors:
        if each.length and (each.offset, each.length) not in seen:
            seen.add((each.offset, each.length))
            (large if each.length >= SMALLEST_ALONE else small).append(each)
    yield from _rest(member, sorted([*large, *small], key=lambda each: each.offset))
    yield from _alike(member, small)
    for each in large:
        yield from _parts(member, each)


def _alike(member: Member, small: Iterable[TensorRange]) -> Iterator[Piece]:
    """Small tensors, those of a type and with rows of a shape together: a table each would take
    more than it saves."""
    alike: dict[tuple[str, tuple[int, ...]], list[TensorRange]] = {}
    for each in small:
        alike.setdefault((each.dtype, each.shape[1:]), []).append(each)
    for (dtype, row), tensors in alike.items():
        some: list[TensorRange] = []
        for each in tensors:
            if sum(one.length for one in some) + each.length > LARGEST_SHARED:
                yield _together(member, some, dtype, row)
                some = []
            some.append(each)
        yield _together(member, some, dtype, row)


def _together(
    member: Member, some: Iterable[TensorRange], dtype: str, row: tuple[int, ...]
) -> Piece:
    stretches = tuple((each.offset, each.length) for each in some)
    rows = sum(each.shape[0] if each.shape else 1 for each in some)
    return Piece(member, stretches, dtype, (rows, *row))


def _rest(member: Member, large: Iterable[TensorRange]) -> Iterator[Piece]:
    """What lies between tensors, as few blobs as it fits in."""
    stretches: list[tuple[int, int]] = []
    room = LARGEST_BLOB
    for start, end in _gaps(member.size, large):
        while start < end:
            length = min(room, end - start)
            stretches.append((start, length))
            start, room = start + length, room - length
            if not room:
                yield Piece(member, tuple(stretches), BYTES, (LARGEST_BLOB,))
                stretches, room = [], LARGEST_BLOB
    if stretches:
        yield Piece(member, tuple(stretches), BYTES, (LARGEST_BLOB - room,))


def _gaps(size: int, large: Iterable[TensorRange]) -> Iterator[tuple[int, int]]:
    at = 0
    for each in large:
        yield at, each.offset
        at = each.offset + each.length
    yield at, size


def _parts(member: Member, tensor: TensorRange) -> Iterator[Piece]:
    """A tensor whole, or in parts of whole rows (of the outermost dimension) where it is large."""
    if tensor.length <= LARGEST_BLOB:
        stretch = (tensor.offset, tensor.length)
        yield Piece(member, (stretch,), tensor.dtype, tensor.shape)
        return
    rows = tensor.shape[0] if tensor.shape else 0
    row = tensor.length // rows if rows and tensor.length % rows == 0 else 0
    shaped = 0 < row <= LARGEST_BLOB
    unit = row if shaped else GGUF_BLOCK.get(tensor.dtype, 16)
    step = LARGEST_BLOB // unit * unit
    for start in range(0, tensor.length, step):
        length = min(step, tensor.length - start)
        shape = (length // row, *tensor.shape[1:]) if shaped else (length,)
        yield Piece(member, ((tensor.offset + start, length),), tensor.dtype, shape)


def _content(piece: Piece) -> bytes:
    with FileSource(piece.member.path) as source:
        return piece.read(source)


def _sha256(source: FileSource) -> bytes:
    found = hashlib.sha256()
    for offset in range(0, source.size, READ):
        found.update(source.read(offset, min(READ, source.size - offset)))
    return found.digest()
