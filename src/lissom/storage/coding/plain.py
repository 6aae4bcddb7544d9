"""Bytes as they are, bytes that repeat, and LZMA for text and whatever else repeats at a distance.

LZMA (of the standard library) rather than zstd: it is smaller on graphs, metadata and
vocabularies, what it codes is small beside the weights, and a reader needs nothing but Python.
"""

from __future__ import annotations

import lzma

import numpy as np

from lissom.errors import FormatError
from lissom.storage.bits import Cursor, varint
from lissom.storage.coding.node import Bytes, Read, Tag, demand

LARGEST_WINDOW = 1 << 26
# What is no longer gains nothing from the slowest search.
SHORT = 1 << 16


def encode_raw(data: Bytes) -> bytes:
    """The bytes as they are."""
    return bytes([Tag.RAW]) + data.tobytes()


def decode_raw(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode_raw` wrote."""
    out[:] = cursor.array(out.size)


def encode_constant(data: Bytes, width: int) -> bytes | None:
    """One element of `width` bytes that all are equal to, or None."""
    if data.size == 0 or data.size % width:
        return None
    if data[-width:].tobytes() != data[:width].tobytes():
        return None  # as nearly all are, without a look at the rest
    if not np.array_equal(data[width:], data[:-width]):
        return None
    return bytes([Tag.CONSTANT]) + varint(width) + data[:width].tobytes()


def decode_constant(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode_constant` wrote."""
    width = cursor.varint()
    demand(0 < width <= out.size and out.size % width == 0, "a constant does not fit")
    out.reshape(-1, width)[:] = cursor.array(width)


def _filters(size: int) -> list[dict[str, int]]:
    """LZMA2 with a window no larger than the data."""
    window = min(max(1 << (size - 1).bit_length(), 4096), LARGEST_WINDOW)
    preset = 6 if size <= SHORT else 9 | lzma.PRESET_EXTREME
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": window}]


def encode_lzma(data: Bytes) -> bytes:
    """The bytes as one raw LZMA2 stream."""
    filters = _filters(data.size)
    packed = lzma.compress(data.data, lzma.FORMAT_RAW, filters=filters)
    return bytes([Tag.LZMA]) + varint(len(packed)) + packed


def decode_lzma(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode_lzma` wrote."""
    packed = cursor.take(cursor.varint())
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(out.size))
    try:
        data = decoder.decompress(packed, max_length=out.size)
    except lzma.LZMAError as error:
        raise FormatError(f"an LZMA stream is damaged: {error}") from None
    demand(len(data) == out.size, "an LZMA stream has another length")
    out[:] = np.frombuffer(data, np.uint8)
