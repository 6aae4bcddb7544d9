"""The bytes around the blobs: an archive's header, the frame of a blob, and the trailer.

Specified in FORMAT.md.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from lissom.errors import FormatError
from lissom.storage import codec
from lissom.storage.limits import LARGEST_BLOB, LARGEST_EXCESS

# As PNG's: no text, so a transfer that mends line ends is found out by the first bytes.
MAGIC = b"\x89LSM\r\n\x1a\n"
END = b"\x89LSMEND\n"
VERSION = 1
# Magic, version, CRC-32 of the manifest, its bytes, bytes of all files.
HEADER = struct.Struct("<8sIIQQ")
# Bytes of the coding's description, bytes of the payload.
FRAME = struct.Struct("<II")
LENGTH = struct.Struct("<I")
DIGEST = 32
GET_AGAIN = "get the archive again from where it came"


@dataclass(frozen=True)
class Header:
    """The first bytes of an archive: its manifest's checksum and size, and its files' size."""

    crc: int
    manifest: int
    content: int

    def to_bytes(self) -> bytes:
        return HEADER.pack(MAGIC, VERSION, self.crc, self.manifest, self.content)


def read_header(data: bytes, where: str) -> Header:
    """The header in the first HEADER.size bytes.

    Raises:
        FormatError: this is no archive, or one of another version.
    """
    if len(data) < HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise FormatError(
            "this is no lissom archive, or it is cut short",
            where=where,
            fix="name a file that `lissom pack` wrote",
        )
    _, version, crc, manifest, content = HEADER.unpack(data[: HEADER.size])
    if version != VERSION:
        raise FormatError(
            f"the archive has format {version}, and this lissom reads format {VERSION}",
            where=where,
            fix="use a newer lissom" if version > VERSION else GET_AGAIN,
        )
    if not 0 < manifest <= LARGEST_BLOB:
        raise FormatError(
            f"the archive's manifest says it has {manifest:,} bytes; {LARGEST_BLOB:,} are allowed",
            where=where,
            fix=GET_AGAIN,
        )
    return Header(crc, manifest, content)


def to_frame(content: bytes, dtype: str, shape: tuple[int, ...]) -> bytes:
    """A blob's frame: its content coded, and read back to be sure."""
    coded = codec.encode(memoryview(content), dtype, shape)
    found = bytearray(len(content))
    codec.decode(memoryview(coded.coding), memoryview(coded.payload), memoryview(found))
    if found != content:
        raise AssertionError(f"the coding of {dtype} {list(shape)} does not give its bytes back")
    if len(coded.coding) + len(coded.payload) > len(content) + LARGEST_EXCESS:
        raise AssertionError(f"the coding of {dtype} {list(shape)} is longer than its content")
    return FRAME.pack(len(coded.coding), len(coded.payload)) + coded.coding + coded.payload


def frame_length(head: bytes, size: int) -> int:
    """Bytes of the frame that begins with `head`, of a blob with `size` bytes of content.

    Raises:
        FormatError: it says it is much longer than what it holds.
    """
    coding, payload = FRAME.unpack(head)
    if coding + payload > size + LARGEST_EXCESS:
        raise FormatError(f"it says {coding + payload:,} stored bytes hold {size:,}")
    return FRAME.size + int(coding) + int(payload)


def parts_of(frame: memoryview) -> tuple[memoryview, memoryview]:
    """The coding and the payload of a whole frame.

    Raises:
        FormatError: it is not as long as it says.
    """
    coding, payload = FRAME.unpack(frame[: FRAME.size])
    if FRAME.size + coding + payload != len(frame):
        raise FormatError("its frame is not as long as it says")
    start = FRAME.size + coding
    return frame[FRAME.size : start], frame[start:]


def check_content(content: memoryview, crc: int) -> None:
    """Hold what was decoded against its checksum.

    Raises:
        FormatError: it is something else.
    """
    if zlib.crc32(content) != crc:
        raise FormatError("its checksum is wrong")


def from_frame(frame: memoryview, out: memoryview, crc: int) -> None:
    """Decode a whole frame into `out`, which has the size of its blob.

    Raises:
        FormatError: the frame is damaged.
    """
    codec.decode(*parts_of(frame), out)
    check_content(out, crc)
