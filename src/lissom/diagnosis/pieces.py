"""Batches cut along the axis of samples, where the model lets it have any length."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from lissom.arrays import Array, Batch
from lissom.labelled import batch_rows
from lissom.onnx_file import TensorSpec, inputs_of

# Samples that are run at a time.
PIECE = 4


def free_inputs(*paths: Path) -> frozenset[str]:
    """Inputs whose first axis has no fixed size in any of the files that take them."""
    return free_of([spec for path in paths for spec in inputs_of(path)])


def free_of(specs: Collection[TensorSpec]) -> frozenset[str]:
    """Those whose first axis has no fixed size wherever their name comes."""
    fixed = {spec.name for spec in specs if not spec.shape or isinstance(spec.shape[0], int)}
    return frozenset(spec.name for spec in specs) - fixed


def first_rows(batch: Mapping[str, Array], free: Collection[str], rows: int) -> Batch:
    """The first rows of a batch: of what can be cut; all of it where nothing can.

    Args:
        batch: arrays by name.
        free: inputs that may be cut, from `free_inputs`.
        rows: so many are left.
    """
    return _rows(batch, _samples(batch, free), slice(rows))


def cut(batch: Mapping[str, Array], free: Collection[str], rows: int) -> Iterator[Batch]:
    """A batch, so many rows at a time; whole where nothing can be cut.

    Args:
        batch: arrays by name.
        free: inputs that may be cut, from `free_inputs`.
        rows: of a piece, at most.
    """
    names = _samples(batch, free)
    if not names:
        yield dict(batch)
        return
    stop = len(batch[min(names)])
    for at in range(0, stop, rows):
        yield _rows(batch, names, slice(at, min(at + rows, stop)))


def pieces(batches: Iterable[Mapping[str, Array]], free: Collection[str], rows: int) -> list[Batch]:
    """So many rows in all, as evenly as may be from the first few batches, a few at a time.

    Where the batch is fixed, whole batches until there are as many.

    Args:
        batches: arrays by name.
        free: inputs that may be cut, from `free_inputs`.
        rows: in all.
    """
    first = list(islice(batches, rows // PIECE))
    each = -(-rows // max(1, len(first)))
    found: list[Batch] = []
    whole = 0
    for batch in first:
        if _samples(batch, free):
            found += cut(first_rows(batch, free, each), free, PIECE)
        elif whole < rows:
            found.append(dict(batch))
            whole += batch_rows(found[-1])
    return found


def _samples(batch: Mapping[str, Array], free: Collection[str]) -> frozenset[str]:
    """The inputs to be cut together; none where first axes that are free are not one axis."""
    names = frozenset(name for name, array in batch.items() if name in free and array.ndim)
    return names if len({len(batch[name]) for name in names}) == 1 else frozenset()


def _rows(batch: Mapping[str, Array], names: Collection[str], rows: slice) -> Batch:
    return {name: array[rows] if name in names else array for name, array in batch.items()}
