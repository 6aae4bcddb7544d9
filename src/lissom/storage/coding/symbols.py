"""A plane of bytes: raw, constant, rANS with or without contexts, Huffman or LZMA."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from lissom.storage import rans
from lissom.storage.bits import Cursor, varint
from lissom.storage.coding import contexts, huffman, plain
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand, newer
from lissom.storage.frequencies import entropy, entropy_bits, fit, frequencies, read_tables
from lissom.storage.logarithms import FRACTION

NO_CONTEXT, BY_GRID, BY_SIDE, BY_NEIGHBOUR = 0, 1, 2, 3
# More symbols have more pairs than can be told.
MOST_NEIGHBOURS = 16
# About what a symbol takes in a table of few.
SYMBOL_BITS = 5
SMALL = 1 << 12
# The mantissa tells so little by its exponent that fewer symbols do not pay for tables.
SMALLEST_BY_SIDE = 1 << 14
# Where the first state of rANS weighs, and Huffman's codes are shorter.
FEW = 1 << 6
# Of rows of weights less is looked at than of text.
LZ_SAMPLE, LZ_SAMPLE_OF_ROWS = 1 << 14, 1 << 12

Counts = NDArray[np.uint32]


def encode(
    data: Bytes, columns: int = 0, side: Bytes | None = None, lz: bool = True, beside: int = 0
) -> bytes:
    """The smallest coding of a plane.

    `columns` is the length of a row where the plane is a matrix; `side` is a plane of the same
    length that the reader has already; `lz` says whether LZMA is worth a look; `beside` is how
    many bytes of the tensor are elsewhere.
    """
    constant = plain.encode_constant(data, 1)
    if data.size == 0 or constant is not None:
        return constant or plain.encode_raw(data)
    counts = rans.count(data)
    if data.size < FEW:
        found = [_few(data, counts)]
    else:
        found = [_entropy_coded(data, counts, columns, side, beside)]
    if lz and _repeats(data, LZ_SAMPLE_OF_ROWS if columns else LZ_SAMPLE):
        found.append(plain.encode_lzma(data))
    smallest = min(found, key=len)
    return smallest if len(smallest) <= data.size else plain.encode_raw(data)


def _few(data: Bytes, counts: Counts) -> bytes:
    """Huffman's codes; raw where entropy and six bits for the length of each code are too many."""
    least = entropy(counts) + (6 * int(np.count_nonzero(counts)) << FRACTION)
    if least < 8 * data.size << FRACTION and (coded := huffman.encode_huffman(data, counts[0])):
        return coded
    return plain.encode_raw(data)


def _short(data: Bytes) -> bytes:
    return encode(data, lz=False)


def _repeats(data: Bytes, sample: int) -> bool:
    """Whether something repeats at a distance: whether Deflate, which is quick, gets below the
    entropy of two samples of the data."""
    margin = 1.05 if data.size <= SMALL else 0.97
    parts = [data[:sample], data[data.size // 2 :][:sample]]
    return all(
        len(zlib.compress(part.data, 1)) * 8 < margin * entropy_bits(rans.count(part)[0])
        for part in parts[: 1 + (data.size > sample)]
    )


def _entropy_coded(
    data: Bytes, counts: Counts, columns: int, side: Bytes | None, beside: int
) -> bytes:
    """rANS with the contexts that promise the fewest bits; raw where none promises any gain."""
    best = entropy(counts[0]) + (contexts.TABLE_BITS << FRACTION)
    kind, extra, mapping, counts_of_all = NO_CONTEXT, b"", np.zeros(1, np.uint8), counts[0]
    context: Bytes | None = None
    if columns and (found := contexts.best_grid(data, columns)) and 500 * found[1] < 499 * best:
        grid, best = found
        context = grid.context(data.size)
        counts = contexts.count(data, grid)
        kind, extra = BY_GRID, contexts.grid_bytes(grid, _short)
    if side is not None and data.size >= SMALLEST_BY_SIDE:
        by_side = rans.count(data, side, 256)
        _, sums = contexts.merged(by_side)
        bits = entropy(sums) + (contexts.TABLE_BITS * len(sums) << FRACTION)
        if 500 * bits < 499 * best:
            kind, extra, context, counts, best = BY_SIDE, b"", side, by_side, bits
    if data.size >= contexts.SMALLEST and not counts_of_all[MOST_NEIGHBOURS:].any():
        coded, bits = _by_neighbour(data, best >> FRACTION, beside)
        if 500 * bits < 499 * best:
            return coded
    if 500 * best > 499 * (8 * data.size << FRACTION) and data.size >= SMALL:
        return plain.encode_raw(data)
    if context is not None:
        mapping, counts = contexts.merged(counts)
        extra += _short(mapping)
        context = rans.mapped(context, mapping)
    return _rans(data, counts, kind, extra, context, beside)


def _by_neighbour(data: Bytes, bits: int, beside: int) -> tuple[bytes, int]:
    """The coding by the symbol before, and its bits in units of 2^-FRACTION; without it there would
    be so many."""
    lanes = rans.lanes_for(data.size, bits, 8 * beside)
    data = data[rans.by_lane(data.size, lanes)]
    before = np.concatenate([np.zeros(min(lanes, data.size), np.uint8), data[:-lanes]])
    pairs = rans.count(data, before, 256)
    table_bits = SYMBOL_BITS * int(np.count_nonzero(pairs.any(axis=0))) + 8
    mapping, counts = contexts.merged(pairs, table_bits)
    context = rans.mapped(before, mapping)
    coded = _rans(data, counts, BY_NEIGHBOUR, _short(mapping), context, beside, lanes)
    return coded, 8 * len(coded) << FRACTION


def _rans(
    data: Bytes,
    counts: Counts,
    kind: int,
    extra: bytes,
    context: Bytes | None,
    beside: int,
    lanes: int = 0,
) -> bytes:
    """A coding with these counts, in as many lanes as it has bits for where they are not told."""
    model = fit(counts)
    lanes = lanes or rans.lanes_for(data.size, model.bits >> FRACTION, 8 * beside)
    stream = rans.encode(data, rans.Model(model.freqs, model.precision), lanes, context)
    return b"".join(
        (
            bytes([Tag.RANS, model.precision, lanes.bit_length() - 1, kind]),
            extra,
            varint(len(counts)),
            varint(len(model.packed)),
            model.packed,
            stream.states.astype("<u4").tobytes(),
            varint(len(stream.words) // 2),
            stream.words,
        )
    )


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read an rANS coding.

    Raises:
        FormatError: it is damaged.
    """
    precision, lanes_log2, kind = cursor.byte(), cursor.byte(), cursor.byte()
    demand(1 <= precision <= 14, "an rANS coding has a wrong precision")
    demand(lanes_log2 < 32 and 1 << lanes_log2 <= rans.MOST_LANES, "too many lanes")
    demand(out.size <= rans.LONGEST_LANE << lanes_log2, "an rANS coding has too few lanes")
    context: Bytes | None = None
    mapping = np.zeros(1, np.uint8)
    if kind == BY_GRID:
        context = contexts.read_grid(cursor, out.size, read)
        mapping = child(cursor, contexts.MOST_CONTEXTS, read)
    elif kind == BY_NEIGHBOUR:
        mapping = child(cursor, 256, read)
    elif kind == BY_SIDE:
        demand(side is not None and side.size == out.size, "a coding refers to a plane not there")
        context = side
        mapping = child(cursor, 256, read)
    elif kind != NO_CONTEXT:
        raise newer(f"contexts of kind {kind}")
    count = cursor.varint()
    demand(int(mapping.max()) < count <= contexts.MOST_TABLES, "an rANS coding has too many tables")
    tables = read_tables(bytes(cursor.take(cursor.varint())), count)
    freqs = frequencies(tables, precision)
    states = np.frombuffer(cursor.take(4 << lanes_log2), "<u4").astype(np.uint32)
    words = bytes(cursor.take(2 * cursor.varint()))
    stream, model = rans.Stream(states, words), rans.Model(freqs, precision)
    if kind == BY_NEIGHBOUR:
        lined = np.empty(out.size, np.uint8)
        rans.decode(stream, model, lined, after=mapping)
        out[rans.by_lane(out.size, states.size)] = lined
        return
    if context is not None:
        context = rans.mapped(context, mapping)
    rans.decode(stream, model, out, context)
