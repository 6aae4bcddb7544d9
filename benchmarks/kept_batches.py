"""Batches in a file that every environment of a benchmark reads: NumPy and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

Batch = dict[str, np.ndarray]


def store(batches: Sequence[Batch], path: Path) -> None:
    """Write calibration batches for other processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{i}/{name}": a for i, batch in enumerate(batches) for name, a in batch.items()}
    np.savez(path, **arrays)


def stored(path: Path) -> list[Batch]:
    """The batches that `store` wrote."""
    batches: dict[int, Batch] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key, array in arrays.items():
            number, _, name = key.partition("/")
            batches.setdefault(int(number), {})[name] = array
    return [batches[number] for number in sorted(batches)]
