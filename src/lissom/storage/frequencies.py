"""Frequency tables: counts to frequencies that sum to a power of two, and their bytes.

A table is kept as levels: level q > 0 stands for the weight 2^((q - 1) / 2^fineness), level 0 for
a symbol that does not come. An eighth of an octave costs a few bits a symbol and less than 0.001
bits a coded symbol; on small tensors coarser, smoothed tables cost less in all. All of it is
integer arithmetic, so that every writer chooses the same tables and every reader gets the same
frequencies. Bits are counted with 24 bits of fraction.

The compiled kernel is used where there is one; the functions ending in _numpy do the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lissom.errors import FormatError
from lissom.storage import kernel
from lissom.storage.bits import BitReader, BitWriter
from lissom.storage.logarithms import FRACTION, log2

OCTAVES = 15
# 2^(i / 8) in 16 bits of fraction.
ROOTS = (65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194)
SYMBOLS = 256
# What is tried for few symbols: how many neighbours smooth a count, and how fine the table is.
FEW, TRIES = 20_000, ((0, 1), (2, 1), (8, 0), (8, 2))
MANY = 200_000
PRECISIONS = (12, 14)
# Two-level look-up, which more precision needs, is half as fast: worth a 500th.
WORTH_PRECISION = 500
# Of a smoothed count: a third of one, and a thousandth, in 16 bits of fraction.
SEEN, LEAST = (3, 10), 65

Levels = NDArray[np.uint8]
Counts = NDArray[np.uint32]
Freqs = NDArray[np.uint32]


@dataclass(frozen=True)
class Tables:
    """The levels [tables, 256]; how fine those of each table are: 0 (octaves) to 3 (eighths)."""

    levels: Levels
    fineness: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.levels)


def entropy_bits(counts: Counts) -> float:
    """The zeroth-order entropy of all the counted symbols together, in bits (Shannon 1948).

    `counts` has 256 symbols along the last axis; every row before it is a source of its own.
    """
    return entropy(counts) / (1 << FRACTION)


def entropy(counts: Counts) -> int:
    """`entropy_bits` in units of 2^-FRACTION."""
    library = kernel.library()
    counts = np.ascontiguousarray(counts, np.uint32)
    if library is None:
        return _entropy_numpy(counts.reshape(-1, SYMBOLS).astype(np.int64))
    bits: int = library.lissom_entropy(kernel.address(counts), counts.size // SYMBOLS)
    return bits


def _entropy_numpy(counts: NDArray[np.int64]) -> int:
    total = counts.sum(axis=1, keepdims=True)
    return int((counts * (log2(np.maximum(total, 1)) - log2(np.maximum(counts, 1)))).sum())


@dataclass(frozen=True)
class Fit:
    """The tables that suit some counts best.

    Attributes:
        packed: the tables as bytes.
        freqs: what they mean, [tables, 256], each row summing to 2^precision.
        bits: what tables and symbols take, in units of 2^-FRACTION.
    """

    packed: bytes
    freqs: Freqs
    precision: int
    bits: int


def fit(counts: Counts) -> Fit:
    """For each row of counts the table under which its own bits and those of the counted symbols
    are fewest; for all of them the precision."""
    library = kernel.library()
    if library is None:
        return fit_numpy(counts)
    room = np.zeros(len(counts) * SYMBOLS * 4, np.uint8)
    freqs = np.empty(counts.shape, np.uint32)
    taken, precision = ctypes.c_size_t(), ctypes.c_uint32()
    bits = library.lissom_fit(
        kernel.address(counts), len(counts), kernel.address(room), room.size,
        kernel.address(freqs), ctypes.byref(taken), ctypes.byref(precision),
    )  # fmt: skip
    if bits < 0:
        raise ValueError("there are no symbols to make a table of")
    return Fit(room[: taken.value].tobytes(), freqs, precision.value, bits)


def fit_numpy(counts: Counts) -> Fit:
    """`fit` without the compiled kernel."""
    tables, own = best_tables(counts)
    packed, found = write_tables(tables), []
    for precision in PRECISIONS:
        freqs = frequencies(tables, precision)
        logs = log2(np.maximum(freqs.astype(np.int64), 1))
        bits = int((counts * ((precision << FRACTION) - logs)).sum()) + (own << FRACTION)
        found.append(Fit(packed, freqs, precision, bits))
    low, high = found
    return high if high.bits + high.bits // WORTH_PRECISION < low.bits else low


def best_tables(counts: Counts) -> tuple[Tables, int]:
    """The best table of each row of counts, and the bits that all tables take."""
    found = [_best_table(row.astype(np.int64)) for row in counts]
    levels = np.stack([levels for levels, _, _ in found])
    fineness = np.array([fineness for _, fineness, _ in found], np.uint8)
    return Tables(levels, fineness), sum(own for _, _, own in found)


def _best_table(counts: NDArray[np.int64]) -> tuple[Levels, int, int]:
    """Levels, fineness and bits of the best table."""
    total = int(counts.sum())
    tries = TRIES if total < FEW else ((0, 2 + (total > MANY)),)
    best: tuple[int, Levels, int, int] | None = None
    for smoothing, fineness in tries:
        levels = _levels(_smooth(counts, smoothing), fineness)
        own = BitWriter()
        _write_table(own, levels, fineness)
        weights = _weights(levels, fineness)
        log_weights = log2(np.maximum(weights, 1))
        bits = int((counts * (log2(weights.sum(keepdims=True)) - log_weights)).sum())
        bits += own.size << FRACTION
        if best is None or bits < best[0]:
            best = bits, levels, fineness, own.size
    assert best is not None
    return best[1:]


def _smooth(counts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Counts, in 16 bits of fraction, averaged over neighbours, more of them the fewer there are;
    255 and 0 are neighbours (signed bytes go around there)."""
    if width == 0:
        return counts << 16
    near = np.arange(-width, width + 1)
    square = (width + 1) ** 2
    around = sum((width + 1 - abs(int(j))) * np.roll(counts, -j) for j in near)
    mixed = ((counts * counts * square + 2 * width * around) << 16) // (
        (counts + 2 * width) * square
    )
    comes = (counts > 0) | (around * SEEN[1] > SEEN[0] * square)
    return np.where(comes, np.maximum(mixed, LEAST), 0)


def _levels(counts: NDArray[np.int64], fineness: int) -> Levels:
    octaves = log2(np.maximum(counts, 1)) - log2(counts.max(keepdims=True)) + (OCTAVES << FRACTION)
    steps = np.where(octaves > 0, (octaves << fineness) + (1 << FRACTION >> 1), 0) >> FRACTION
    return np.where(counts > 0, 1 + steps, 0).astype(np.uint8)


def _weights(levels: Levels, fineness: int) -> NDArray[np.int64]:
    eighths = np.maximum(levels.astype(np.int64) - 1, 0) << (3 - fineness)
    weights = np.array(ROOTS, np.int64)[eighths & 7] << (eighths >> 3)
    return np.where(levels > 0, weights, 0)


def frequencies(tables: Tables, precision: int) -> Freqs:
    """The frequencies [tables, 256], each row summing to 2^precision; what comes has some.

    Raises:
        FormatError: no symbol comes.
    """
    pairs = zip(tables.levels, tables.fineness.tolist(), strict=True)
    return np.stack([_frequencies(levels, fineness, precision) for levels, fineness in pairs])


def _frequencies(levels: Levels, fineness: int, precision: int) -> Freqs:
    weights = _weights(levels, fineness)
    total = int(weights.sum())
    if total == 0:
        raise FormatError("a frequency table is empty")
    shared = ((weights << precision) + total // 2) // total
    result = np.where(levels > 0, np.maximum(shared, 1), 0)
    # What rounding left over or took too much falls on the most frequent, one at a time where it
    # is to be taken, so that none drops to nothing while others have more.
    rest = (1 << precision) - int(result.sum())
    while rest < 0:
        result[np.argmax(result)] -= 1
        rest += 1
    result[np.argmax(result)] += rest
    return result.astype(np.uint32)


def write_tables(tables: Tables) -> bytes:
    """The bytes of tables, one after the other without a gap."""
    written = BitWriter()
    for levels, fineness in zip(tables.levels, tables.fineness.tolist(), strict=True):
        _write_table(written, levels, fineness)
    return written.getvalue()


def _write_table(bits: BitWriter, levels: Levels, fineness: int) -> None:
    """Append a table: its fineness, the runs of absent and present symbols, and the steps between
    the levels of present ones in Rice's code (Rice and Plaunt 1971)."""
    steps = np.diff(levels[levels > 0].astype(np.int64), prepend=1)
    values = np.where(steps < 0, -2 * steps - 1, 2 * steps)
    low = min(range(6), key=lambda low: int(((values >> low) + 1 + low).sum()))
    bits.write(fineness, 2)
    bits.write(low, 3)
    for run in _runs(levels):
        bits.exp_golomb(run)
    for value in values.tolist():
        bits.rice(value, low)


def _runs(levels: Levels) -> Iterator[int]:
    """The lengths of runs of absent, present, absent, ... symbols; only the first may be 0."""
    present = levels > 0
    edges = np.flatnonzero(np.diff(present.astype(np.int8))) + 1
    if present[0]:
        yield 0
    for start, end in pairwise([0, *edges.tolist(), SYMBOLS]):
        yield end - start


def read_tables(packed: bytes, count: int) -> Tables:
    """Read what `write_tables` wrote, so many tables.

    Raises:
        FormatError: the bytes end early, go on, or are no tables.
    """
    bits = BitReader(packed)
    found = [_read_table(bits) for _ in range(count)]
    bits.end()
    levels = np.stack([levels for levels, _ in found])
    return Tables(levels, np.array([fineness for _, fineness in found], np.uint8))


def _read_table(bits: BitReader) -> tuple[Levels, int]:
    fineness, low = bits.read(2), bits.read(3)
    levels = np.zeros(SYMBOLS, np.uint8)
    at, comes = 0, False
    while at < SYMBOLS:
        run = bits.exp_golomb()
        if run > SYMBOLS - at or (run == 0 and at > 0):
            raise FormatError("a frequency table is damaged")
        levels[at : at + run] = comes
        at, comes = at + run, not comes
    level = 1
    for symbol in np.flatnonzero(levels).tolist():
        step = bits.rice(low)
        level += -(step + 1 >> 1) if step & 1 else step >> 1
        if not 1 <= level <= (OCTAVES << fineness) + 1:
            raise FormatError("a frequency table is damaged")
        levels[symbol] = level
    return levels, fineness
