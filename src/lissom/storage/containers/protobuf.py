"""The wire format of protobuf, walked by byte ranges: which field lies where, and nothing copied.

Source: protobuf.dev, "Encoding". The onnx package gives a message's values and not their places.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lissom.storage.containers.ranges import NotThisFormat
from lissom.storage.containers.source import Window

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# A tag and a length are varints of at most 10 bytes each.
LONGEST_HEAD = 20


class Field(NamedTuple):
    """One field of a message: its content is [start, end), and its tag begins at `head`.

    `value` is the number of a varint, and 0 for other wire types.
    """

    number: int
    wire: int
    head: int
    start: int
    end: int
    value: int


def fields(window: Window, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in [start, end), in order.

    Raises:
        NotThisFormat: the bytes are no message.
    """
    at, piece, begin = start, b"", 0
    while at < end:
        if not 0 <= at - begin < len(piece):
            piece, begin = window.piece(at)
        # First with what is at hand: of a packed tensor, only its head is.
        try:
            tag, value, used, used_in_all = _head(piece, at - begin)
        except NotThisFormat:
            tag, value, used, used_in_all = _head(window.look(at, min(LONGEST_HEAD, end - at)), 0)
        number, wire = tag >> 3, tag & 7
        first = last = at + used_in_all
        if wire == VARINT:
            first = at + used
        elif wire == BYTES:
            last, value = first + value, 0
        elif wire in (FIXED32, FIXED64):
            last = first + (4 if wire == FIXED32 else 8)
        else:
            raise NotThisFormat("a field of a wire type that is not in use")
        if not 0 < number < 1 << 29 or last > end:
            raise NotThisFormat("a field that is longer than its message")
        yield Field(number, wire, at, first, last, value)
        at = last


def _head(data: bytes, at: int) -> tuple[int, int, int, int]:
    """A field's tag, the number after it where there is one, and how many bytes each and both of
    them take."""
    tag, end = varint(data, at)
    if tag & 7 not in (VARINT, BYTES):
        return tag, 0, end - at, end - at
    value, end_of_all = varint(data, end)
    return tag, value, end - at, end_of_all - at


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number below 2**64 and the position after it.

    Raises:
        NotThisFormat: the bytes end within it, or it is larger.
    """
    if at < len(data) and data[at] < 0x80:  # as nearly all are
        return data[at], at + 1
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise NotThisFormat("a number that does not end")
