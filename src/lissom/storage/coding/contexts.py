"""Which frequency table a symbol is coded with: by its row and column, or by another plane.

A weight's scale is roughly a factor of its output channel times a factor of its input channel, so
the rows and the columns of a matrix are each sorted into classes of like scale, and the sum of the
two classes is the context: a few tables and a small number for each row and column. For mantissas
the context is the exponent that was decoded before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lissom.storage import kernel, rans
from lissom.storage.bits import Cursor, varint
from lissom.storage.coding.node import Bytes, Read, child, demand
from lissom.storage.frequencies import entropy_bits
from lissom.storage.logarithms import FRACTION, log2

Encode = Callable[[Bytes], bytes]
Counts = NDArray[np.uint32]

# Classes of rows, and of columns, on each side of the middle one.
REACH = 5
MOST_CONTEXTS = 2 * 2 * REACH + 1
MOST_TABLES = 24
# About what a frequency table takes.
TABLE_BITS = 500
SAMPLE, SAMPLE_OF_SCALES = 1 << 18, 1 << 16
SMALLEST = 1 << 10
STEPS = (0.5, 0.25)
BOTH = (1, 1)
# Of a mean: a hundredth, in 16 bits of fraction.
LEAST = 655


@dataclass(frozen=True)
class Grid:
    """Classes of the rows and of the columns of a matrix with `columns` columns."""

    columns: int
    rows_class: Bytes
    columns_class: Bytes

    def context(self, size: int) -> Bytes:
        """The context of each of `size` symbols; the last row may be short."""
        return (self.rows_class[:, None] + self.columns_class[None]).reshape(-1)[:size]


# What of a symbol tells the scale it was drawn with, the symbol being a signed byte, a byte around
# 128, an exponent, or two nibbles around 8: (table of 256 numbers, whether they are a scale, of
# which the logarithm counts, or a logarithm already).
_byte = np.arange(256)
SCALES: tuple[tuple[NDArray[np.uint8], bool], ...] = (
    (np.abs(_byte.astype(np.uint8).view(np.int8).astype(int)).astype(np.uint8), True),
    (np.abs(_byte - 128).astype(np.uint8), True),
    (_byte.astype(np.uint8), False),
    ((np.abs((_byte & 15) - 8) + np.abs((_byte >> 4) - 8)).astype(np.uint8), True),
)


def best_grid(data: Bytes, columns: int) -> tuple[Grid, float] | None:
    """The grid with which the symbols take the fewest bits, and about how many these are.

    Compared on rows from all over the matrix, SAMPLE symbols or so: first what tells the scale,
    then whether rows, columns or both do, then how fine.
    """
    rows = -(-data.size // columns)
    if rows < 2 or columns < 2 or data.size < SMALLEST:
        return None
    every = max(1, data.size // SAMPLE) if data.size == rows * columns else 1
    part = _every(data, columns, every)
    fewer = _every(part, columns, max(1, part.size // SAMPLE_OF_SCALES))
    scale = min(
        range(len(SCALES)),
        key=lambda one: _bits(
            fewer, _grid(columns, _octaves(fewer, fewer, columns, one), BOTH, STEPS[0])
        ),
    )
    octaves = _octaves(data, part, columns, scale)

    def tried(which: tuple[int, int], step: float) -> tuple[float, Grid, tuple[int, int]]:
        grid = _grid(columns, octaves, which, step)
        rows_class = np.ascontiguousarray(grid.rows_class[::every])
        bits = _bits(part, Grid(columns, rows_class, grid.columns_class))
        bits *= data.size / part.size
        bits += _class_bits(grid.rows_class) + _class_bits(grid.columns_class)
        return bits, grid, which

    coarse = min((tried(which, STEPS[0]) for which in (BOTH, (1, 0), (0, 1))), key=_first)
    bits, grid, _ = min(coarse, tried(coarse[2], STEPS[1]), key=_first)
    return grid, bits


def _first(pair: tuple[float, Grid, tuple[int, int]]) -> float:
    return pair[0]


def _every(data: Bytes, columns: int, every: int) -> Bytes:
    """One row in so many of a matrix."""
    return data if every == 1 else data.reshape(-1, columns)[::every].reshape(-1)


def _bits(data: Bytes, grid: Grid) -> float:
    """The bits of the symbols and their tables."""
    counts = count(data, grid)
    return entropy_bits(counts) + TABLE_BITS * int(counts.any(axis=1).sum())


def count(data: Bytes, grid: Grid) -> Counts:
    """How often each symbol comes in each context of a grid, [MOST_CONTEXTS, 256]."""
    library = kernel.library()
    if library is None:
        return rans.count(data, grid.context(data.size), MOST_CONTEXTS)
    counts = np.zeros((MOST_CONTEXTS, 256), np.uint32)
    failed = library.lissom_count_by_grid(
        kernel.address(data),
        data.size,
        grid.columns,
        kernel.address(grid.rows_class),
        kernel.address(grid.columns_class),
        MOST_CONTEXTS,
        kernel.address(counts),
    )
    if failed:
        raise ValueError("a context is out of range")
    return counts


def _octaves(
    data: Bytes, part: Bytes, columns: int, scale: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The scale of each row of `data` and of each column of `part`, as a logarithm of base 2 in
    units of 2^-FRACTION."""
    values, linear = SCALES[scale]
    by_row, by_column = _sums(data, columns, values)
    if part is not data:
        _, by_column = _sums(part, columns, values)
    if by_row.size * columns < data.size:  # a row cut short is as the one before
        by_row = np.append(by_row, by_row[-1])
    rows = part.size // columns
    if linear:
        by_row, by_column = (by_row << 16) // columns, (by_column << 16) // rows
        return log2(np.maximum(by_row, LEAST)), log2(np.maximum(by_column, LEAST))
    return (by_row << FRACTION) // columns, (by_column << FRACTION) // rows


def _sums(
    data: Bytes, columns: int, values: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sums of what `values` has for the symbols, over each whole row and over each column."""
    rows = data.size // columns
    library = kernel.library()
    if library is None:
        whole = values[data[: rows * columns]].reshape(rows, columns)
        return whole.sum(axis=1, dtype=np.int64), whole.sum(axis=0, dtype=np.int64)
    by_row, by_column = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    library.lissom_sums(
        kernel.address(data),
        rows,
        columns,
        kernel.address(values),
        kernel.address(by_row),
        kernel.address(by_column),
    )
    return by_row, by_column


def _grid(
    columns: int,
    octaves: tuple[NDArray[np.int64], NDArray[np.int64]],
    which: tuple[int, int],
    step: float,
) -> Grid:
    """A grid of classes so many octaves wide, of rows and columns, or of the ones alone."""
    by_row, by_column = octaves
    return Grid(columns, _classes(by_row, step * which[0]), _classes(by_column, step * which[1]))


def _classes(octaves: NDArray[np.int64], step: float) -> Bytes:
    """Classes around the middle one, from 0; all of them 0 where the step is 0."""
    if step == 0:
        return np.zeros(octaves.size, np.uint8)
    middle = np.sort(octaves)[octaves.size // 2]
    away = np.rint((octaves - middle) / (step * (1 << FRACTION)))
    near = np.minimum(np.maximum(away, -REACH), REACH)
    classes: Bytes = (near - near.min()).astype(np.uint8)
    return classes


def _class_bits(classes: Bytes) -> float:
    counts = rans.count(classes)
    present = int(np.count_nonzero(counts))
    return entropy_bits(counts) + 8 * present + 64 if present > 1 else 32.0


def merged(counts: Counts) -> tuple[Bytes, Counts]:
    """Which table each context uses, and the counts of each table: neighbouring contexts share one
    where it costs less bits than a table takes, and until there are few enough."""
    library = kernel.library()
    if library is None:
        return merged_numpy(counts)
    sums = counts.copy()
    mapping = np.empty(len(counts), np.uint8)
    tables = library.lissom_merge(
        kernel.address(sums), len(sums), TABLE_BITS << FRACTION, kernel.address(mapping)
    )
    return mapping, sums[:tables]


def merged_numpy(counts: Counts) -> tuple[Bytes, Counts]:
    """`merged` without the compiled kernel."""
    mapping = np.zeros(len(counts), np.uint8)
    groups = [[i] for i in np.flatnonzero(counts.any(axis=1)).tolist()]
    sums = [counts[group[0]] for group in groups]
    own = [entropy_bits(total) for total in sums]
    joint = [entropy_bits(a + b) for a, b in pairwise(sums)]
    while len(groups) > 1:
        losses = [joint[i] - own[i] - own[i + 1] for i in range(len(joint))]
        at = int(np.argmin(losses))
        if losses[at] > TABLE_BITS and len(groups) <= MOST_TABLES:
            break
        groups[at] += groups.pop(at + 1)
        sums[at] = sums[at] + sums.pop(at + 1)
        own[at] = joint[at]
        own.pop(at + 1)
        joint.pop(at)
        if at < len(joint):
            joint[at] = entropy_bits(sums[at] + sums[at + 1])
        if at > 0:
            joint[at - 1] = entropy_bits(sums[at - 1] + sums[at])
    for table, group in enumerate(groups):
        mapping[group[0] : group[-1] + 1] = table
    return mapping, np.stack(sums)


def read_grid(cursor: Cursor, size: int, read: Read) -> Bytes:
    """The context of each of `size` symbols, from the classes of rows and columns.

    Raises:
        FormatError: the matrix has no such shape.
    """
    columns = cursor.varint()
    demand(0 < columns <= max(size, 1), "a context has a wrong shape")
    rows = -(-size // columns)
    rows_class = child(cursor, rows, read)
    columns_class = child(cursor, columns, read)
    most = int(rows_class.max(initial=0)) + int(columns_class.max(initial=0))
    demand(most < MOST_CONTEXTS, "a context is out of range")
    return Grid(columns, rows_class, columns_class).context(size)


def grid_bytes(grid: Grid, encode: Encode) -> bytes:
    """A grid's part of a coding."""
    return varint(grid.columns) + encode(grid.rows_class) + encode(grid.columns_class)
