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
    at = start
    while at < end:
        longest = min(LONGEST_HEAD, end - at)
        # First with what is at hand: of a packed tensor, only its head is.
        head = window.peek(at, longest)
        if len(head) > 1 and head[0] < 0x80 > head[1] and head[0] & 7 in (VARINT, BYTES):
            tag, value, used, used_in_all = head[0], head[1], 1, 2  # as nearly all are
        else:
            try:
                tag, value, used, used_in_all = _head(head)
            except NotThisFormat:
                tag, value, used, used_in_all = _head(window.look(at, longest))
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


def _head(head: bytes) -> tuple[int, int, int, int]:
    """A field's tag, the number after it where there is one, and where both of them end."""
    tag, used = varint(head, 0)
    if tag & 7 not in (VARINT, BYTES):
        return tag, 0, used, used
    value, used_in_all = varint(head, used)
    return tag, value, used, used_in_all


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number below 2**64 and the position after it.

    Raises:
        NotThisFormat: the bytes end within it, or it is larger.
    """
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


def to_varint(value: int) -> bytes:
    """A number as a varint of the fewest bytes."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
