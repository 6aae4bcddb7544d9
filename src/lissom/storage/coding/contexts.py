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
from lissom.storage.frequencies import entropy, entropy_bits
from lissom.storage.logarithms import FRACTION, log2

Encode = Callable[[Bytes], bytes]
Counts = NDArray[np.uint32]

# Classes of rows, and of columns, on each side of the middle one.
REACH = 5
MOST_CONTEXTS = 2 * 2 * REACH + 1
MOST_TABLES = 24
# About what a frequency table takes.
TABLE_BITS = 500
SAMPLE, SAMPLE_OF_SCALES = 1 << 16, 1 << 14
SMALLEST = 1 << 10
# Whether the classes of rows and those of columns are used.
WHICH = ((True, True), (True, False), (False, True))
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


def best_grid(data: Bytes, columns: int) -> tuple[Grid, int] | None:
    """The grid with which the symbols take the fewest bits, and about how many these are, in units
    of 2^-FRACTION.

    Compared on rows from all over the matrix, SAMPLE symbols or so: first what tells the scale,
    then whether rows, columns or both do, then how fine.
    """
    rows = data.size // columns
    if rows < 2 or columns < 2 or data.size < SMALLEST or data.size % columns:
        return None
    every = max(1, data.size // SAMPLE)
    fewer = max(1, -(-rows // every) * columns // SAMPLE_OF_SCALES)
    library = kernel.library()
    if library is None:
        return best_grid_numpy(data.reshape(rows, columns), every, fewer)
    grid = Grid(columns, np.empty(rows, np.uint8), np.empty(columns, np.uint8))
    bits = library.lissom_best_grid(
        kernel.address(data), rows, columns, every, fewer,
        kernel.address(grid.rows_class), kernel.address(grid.columns_class),
    )  # fmt: skip
    if bits < 0:
        raise MemoryError
    return grid, bits


def best_grid_numpy(matrix: Bytes, every: int, fewer: int) -> tuple[Grid, int]:
    """`best_grid` without the compiled kernel, on one row in `every`, and of these one in `fewer`
    for what tells the scale."""
    part = np.ascontiguousarray(matrix[::every])
    few = np.ascontiguousarray(part[::fewer])
    columns = matrix.shape[1]

    def bits_of_scale(scale: int) -> int:
        by_row, by_column = (_octaves(few, axis, scale) for axis in (1, 0))
        return _bits(few, Grid(columns, _classes(by_row, 1), _classes(by_column, 1)))

    scale = min(range(len(SCALES)), key=bits_of_scale)
    by_row, by_column = _octaves(matrix, 1, scale), _octaves(part, 0, scale)

    def tried(which: tuple[bool, bool], halvings: int) -> tuple[int, Grid, tuple[bool, bool]]:
        rows_class = _classes(by_row, halvings) if which[0] else np.zeros(by_row.size, np.uint8)
        columns_class = _classes(by_column, halvings) if which[1] else np.zeros(columns, np.uint8)
        sampled = Grid(columns, np.ascontiguousarray(rows_class[::every]), columns_class)
        bits = _bits(part, sampled) * len(matrix) // len(part)
        bits += _class_bits(rows_class) + _class_bits(columns_class)
        return bits, Grid(columns, rows_class, columns_class), which

    coarse = min((tried(which, 1) for which in WHICH), key=_first)
    bits, grid, _ = min(coarse, tried(coarse[2], 2), key=_first)
    return grid, bits


def _first(pair: tuple[int, Grid, tuple[bool, bool]]) -> int:
    return pair[0]


def _bits(matrix: Bytes, grid: Grid) -> int:
    """The bits of the symbols and their tables."""
    counts = count(matrix.reshape(-1), grid)
    return entropy(counts) + (TABLE_BITS << FRACTION) * int(counts.any(axis=1).sum())


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


def _octaves(matrix: Bytes, axis: int, scale: int) -> NDArray[np.int64]:
    """The scale of each row (along axis 1) or column (along 0) over that of the middle one, as a
    logarithm of base 2 in units of 2^-FRACTION."""
    values, linear = SCALES[scale]
    sums = values[matrix].sum(axis=axis, dtype=np.int64)
    each = matrix.shape[axis]
    if linear:
        octaves = log2(np.maximum((sums << 16) // each, LEAST))
    else:
        octaves = (sums << FRACTION) // each
    result: NDArray[np.int64] = octaves - np.sort(octaves)[octaves.size // 2]
    return result


def _classes(octaves: NDArray[np.int64], halvings: int) -> Bytes:
    """Classes 2^-halvings octaves wide around the middle one, from 0."""
    shift = FRACTION - halvings
    near = np.clip((octaves + (1 << shift - 1)) >> shift, -REACH, REACH)
    classes: Bytes = (near - near.min()).astype(np.uint8)
    return classes


def _class_bits(classes: Bytes) -> int:
    counts = rans.count(classes)
    present = int(np.count_nonzero(counts))
    return entropy(counts) + (8 * present + 64 << FRACTION) if present > 1 else 32 << FRACTION


def merged(counts: Counts, table_bits: int = TABLE_BITS) -> tuple[Bytes, Counts]:
    """Which table each context uses, and the counts of each table: neighbouring contexts share one
    where it costs less bits than a table takes, and until there are few enough."""
    library = kernel.library()
    if library is None:
        return merged_numpy(counts, table_bits)
    sums = counts.copy()
    mapping = np.empty(len(counts), np.uint8)
    tables = library.lissom_merge(
        kernel.address(sums), len(sums), table_bits << FRACTION, kernel.address(mapping)
    )
    return mapping, sums[:tables]


def merged_numpy(counts: Counts, table_bits: int = TABLE_BITS) -> tuple[Bytes, Counts]:
    """`merged` without the compiled kernel."""
    mapping = np.zeros(len(counts), np.uint8)
    groups = [[i] for i in np.flatnonzero(counts.any(axis=1)).tolist()]
    sums = [counts[group[0]] for group in groups]
    own = [entropy_bits(total) for total in sums]
    joint = [entropy_bits(a + b) for a, b in pairwise(sums)]
    while len(groups) > 1:
        losses = [joint[i] - own[i] - own[i + 1] for i in range(len(joint))]
        at = int(np.argmin(losses))
        if losses[at] > table_bits and len(groups) <= MOST_TABLES:
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
