"""Canonical Huffman codes: what was published for weights (Han et al. 2016, arXiv:1510.00149).

Kept as the baseline, and for streams so short that the first state of rANS weighs. A code is its
256 lengths (Schwartz and Kallick 1964): shorter codes first, equal lengths in the symbols' order.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from lissom.storage.bits import BitReader, BitWriter, Cursor, varint
from lissom.storage.coding.node import Bytes, Read, Tag, demand

LONGEST_CODE = 30
# A loop over symbols in Python is no way to read more.
MOST_SYMBOLS = 1 << 12


def lengths(counts: NDArray[np.int64]) -> list[int]:
    """The code length of each symbol, 0 where it does not come (Huffman 1952)."""
    come = np.flatnonzero(counts).tolist()
    result = [0] * len(counts)
    heap = [(int(counts[symbol]), symbol, [symbol]) for symbol in come]
    if len(heap) == 1:
        result[come[0]] = 1
        return result
    heapq.heapify(heap)
    while len(heap) > 1:
        low, first, left = heapq.heappop(heap)
        high, _, right = heapq.heappop(heap)
        for symbol in left + right:
            result[symbol] += 1
        heapq.heappush(heap, (low + high, first, left + right))
    return result


def codes(sizes: list[int]) -> dict[int, tuple[int, int]]:
    """The canonical code of each symbol that comes: its value and length."""
    result = {}
    value = previous = 0
    for length, symbol in sorted((size, symbol) for symbol, size in enumerate(sizes) if size):
        value <<= length - previous
        result[symbol] = (value, length)
        value, previous = value + 1, length
    return result


def encode_huffman(data: Bytes, counts: NDArray[np.int64]) -> bytes | None:
    """The symbols as one string of codes, or None where there are too many."""
    sizes = lengths(counts)
    if data.size > MOST_SYMBOLS or max(sizes) > LONGEST_CODE:
        return None
    bits = BitWriter()
    last = -1
    table = codes(sizes)
    for symbol in sorted(table):
        bits.exp_golomb(symbol - last - 1)
        bits.write(sizes[symbol], 5)
        last = symbol
    bits.exp_golomb(len(sizes) - last - 1)
    for symbol in data.tolist():
        bits.write(*table[symbol])
    packed = bits.getvalue()
    return bytes([Tag.HUFFMAN]) + varint(len(packed)) + packed


def decode_huffman(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode_huffman` wrote."""
    demand(out.size <= MOST_SYMBOLS, "a Huffman stream is too long")
    bits = BitReader(bytes(cursor.take(cursor.varint())))
    sizes = [0] * 256
    symbol = bits.exp_golomb()
    while symbol < 256:
        sizes[symbol] = bits.read(5)
        demand(0 < sizes[symbol] <= LONGEST_CODE, "a Huffman code has a wrong length")
        symbol += 1 + bits.exp_golomb()
    demand(symbol == 256, "a Huffman code has too many symbols")
    table = codes(sizes)
    whole = sum(2 ** (LONGEST_CODE - length) for _, length in table.values())
    demand(whole <= 2**LONGEST_CODE, "a Huffman code is ambiguous")
    symbols = {code: symbol for symbol, code in table.items()}
    for i in range(out.size):
        value, length = bits.read(1), 1
        while (value, length) not in symbols:
            demand(length < LONGEST_CODE, "a Huffman stream is damaged")
            value, length = value << 1 | bits.read(1), length + 1
        out[i] = symbols[value, length]
    bits.end()
