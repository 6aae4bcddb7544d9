"""What the fuzzer calls with bytes of its own making, and the tests with the seeds it left.

The first byte chooses a part of the reader; the rest is what that part is given. Checksums, which
would stop a fuzzer at once, are made right for it. Whatever the bytes, there is an answer or an
error that says what is wrong, soon and in little memory; and both readers agree.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from pathlib import Path

from lissom.errors import FormatError
from lissom.storage import codec, second_reader
from lissom.storage.archive import Archive
from lissom.storage.containers import gguf, onnx, safetensors
from lissom.storage.containers.ranges import NotThisFormat, TensorRange, tidy
from lissom.storage.containers.source import Source
from lissom.storage.containers.survey import Member
from lissom.storage.frames import FRAME
from lissom.storage.layout import cut
from lissom.storage.limits import Limits
from lissom.storage.manifest import Manifest, Range
from lissom.storage.stream import Stream
from tests.storage.archives import assembled, resealed

LIMITS = Limits(content=1 << 20, entries=10_000)


class MemorySource:
    """Bytes in memory as a source."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        found = self.data[offset : offset + length]
        assert offset >= 0 and len(found) == length, "a parser reads outside of its file"
        return found

    def near(self, offset: int) -> bytes:
        return self.data[offset : offset + 64]


def target(data: bytes) -> None:
    """Give bytes to the part of the reader that the first one chooses."""
    if data:
        PARTS[data[0] % len(PARTS)](data[1:])


def container(data: bytes) -> None:
    """A file of a model: parsed or refused, and cut into pieces that make up the whole file."""
    source: Source = MemorySource(data)
    ranges: list[TensorRange] = []
    for parser in (_onnx_tensors, safetensors.tensors, gguf.tensors):
        try:
            ranges = parser(source)
            break
        except NotThisFormat:
            continue
    member = Member("m", Path("m"), len(data), "bytes", tidy(ranges, len(data)))
    taken = sorted({stretch for piece in cut(member) for stretch in piece.stretches})
    assert b"".join(source.read(*stretch) for stretch in taken) == data
    safetensors.metadata(source)


def _onnx_tensors(source: Source) -> list[TensorRange]:
    found = [each for each in map(onnx.inline_range, onnx.all_tensors(source)) if each]
    list(onnx.initializers(source))
    return found


def archive(data: bytes) -> None:
    """A whole archive, of which the last checksum is made right."""
    read(resealed(data) if len(data) > 40 else data)


def manifest(data: bytes) -> None:
    """A manifest, with frames after it: two bytes of length, the manifest, the frames."""
    length = int.from_bytes(data[:2], "little")
    entries, rest = data[2 : 2 + length], data[2 + length :]
    frames = []
    while len(rest) >= FRAME.size:
        coding, payload = FRAME.unpack(rest[: FRAME.size])
        size = min(FRAME.size + coding + payload, len(rest))
        frames.append(rest[:size])
        rest = rest[size:]
    if entries:
        # The total is a number of the header, and a fuzzer would not guess it.
        for total in (0, sum(map(len, frames)), 512):
            read(assembled(entries, frames, content=total))


def coding(data: bytes) -> None:
    """A coding and its payload: two bytes of output size, one of the coding's length."""
    if len(data) < 3:
        return
    size, split = int.from_bytes(data[:2], "little"), 3 + data[2]
    out = bytearray(size)
    try:
        codec.decode(memoryview(data)[3:split], memoryview(data)[split:], memoryview(out))
        decoded = bytes(out)
    except FormatError:
        decoded = None
    try:
        again = bytes(second_reader.decode(data[3:split], data[split:], size))
    except second_reader.ArchiveError:
        again = None
    assert decoded == again, "the readers do not agree"


PARTS = (container, archive, manifest, coding)


def read(data: bytes) -> Manifest | None:
    """Read an archive in every way there is; its manifest, or None where all ways refuse it."""
    contents: list[bytes] = []
    found: Manifest | None = None
    refused = ""
    try:
        stream = Stream(io.BytesIO(data), "fuzz", LIMITS)
        contents = [bytes(content) for content in stream.contents(threads=1)]
        found = stream.manifest
    except FormatError as error:
        refused = error.what
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            with Archive(file.name, LIMITS) as opened:
                # It reads parts, and so refuses no more than the whole.
                again = [bytes(opened.blob(at)) for at in range(len(opened.manifest.blobs))]
                for tensor in opened.manifest.tensors:
                    assert len(opened.tensor(tensor)) == tensor.length
            assert found is None or (again == contents and opened.manifest == found)
        except FormatError:
            assert found is None
    try:
        files = second_reader.read_archive(data, LIMITS.content).files
    except second_reader.ArchiveError:
        assert found is None or not _whole(found, contents), "only the second reader refuses it"
    else:
        assert found is not None or "limit" in refused, f"only the first refuses it: {refused}"
        if found is not None:
            assert files == {file.name: _file(file.ranges, contents) for file in found.files}
    return found


def _file(ranges: tuple[Range, ...], contents: list[bytes]) -> bytes:
    return b"".join(contents[each.blob][each.start :][: each.length] for each in ranges)


def _whole(found: Manifest, contents: list[bytes]) -> bool:
    """Whether the files have their checksums, which a stream leaves to who writes the files."""
    return all(
        hashlib.sha256(_file(file.ranges, contents)).digest() == file.sha256 for file in found.files
    )
