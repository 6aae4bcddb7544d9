"""Blobs decoded and held against their checksums; what is damaged is named by its owner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lissom.errors import FormatError
from lissom.storage import codec, manifest_bytes
from lissom.storage.frames import GET_AGAIN, Header, check_content, from_frame, parts_of
from lissom.storage.limits import Limits
from lissom.storage.manifest import Manifest, check


def decode_manifest(frame: memoryview, header: Header, limits: Limits, where: str) -> Manifest:
    """The manifest in a frame, checked.

    Raises:
        FormatError: it is damaged, over the limits, or its parts do not fit each other.
    """
    content = bytearray(header.manifest)
    try:
        from_frame(frame, memoryview(content), header.crc)
    except FormatError as error:
        raise _told(error, "the archive's manifest", where) from None
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
        raise _told(error, manifest.owner(number), where) from None


def _told(error: FormatError, whose: str, where: str) -> FormatError:
    """An error about coded bytes, as one about what they are."""
    why = "cannot be read" if error.fix else "is damaged"
    return FormatError(f"{whose} {why}: {error.what}", where=where, fix=error.fix or GET_AGAIN)
