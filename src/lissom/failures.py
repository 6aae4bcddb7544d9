"""What a runtime could not do with a file, in words that say what to do; for every runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lissom.errors import LissomError, ModelError, RunError

# How allocators and the C++ library say it.
OUT_OF_MEMORY = ("failed to allocate memory", "bad_alloc", "bad allocation", "out of memory")
SMALLER_BATCH = (
    "lower the batch size (--task images:FOLDER,batch=8, or Task(..., batch_size=8)), "
    "or free memory"
)


def is_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out; runtimes have no class of their own for that."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or any(words in told for words in OUT_OF_MEMORY)


def no_memory(runtime: str, path: Path | str) -> RunError:
    """That a runtime ran out of memory when it opened a file."""
    return RunError(
        f"there is not enough memory for {runtime} to go on",
        where=str(path),
        fix=SMALLER_BATCH,
    )


def cannot_run(
    error: BaseException,
    why: str,
    inputs: Sequence[Any],
    feeds: Mapping[str, np.ndarray],
    path: Path | str,
    runtime: str,
) -> LissomError:
    """What a runtime says of inputs that were made for it; `inputs` have a name and a shape."""
    where = f"{path}, with " + ", ".join(f"{n} {list(a.shape)}" for n, a in feeds.items())
    if is_memory(error):
        return RunError(
            "there is not enough memory to run the model",
            where=where,
            fix="lower --batch or --shape of the timed run, or free memory",
        )
    return ModelError(
        f"{runtime} cannot run the model on these inputs: {why}",
        where=where,
        fix=_other_inputs(inputs),
    )


def cannot_run_batch(
    error: BaseException,
    why: str,
    batch: Mapping[str, np.ndarray],
    name: str,
    where: Path | str,
    runtime: str,
) -> RunError:
    """What a runtime says of a batch of the user's data, which are `where`."""
    where = f"{where}, with " + ", ".join(f"{n} {list(a.shape)}" for n, a in batch.items())
    if is_memory(error):
        rows = next((len(array) for array in batch.values() if array.ndim), 1)
        return RunError(
            f"there is not enough memory to run {name} on a batch of {rows} rows",
            where=where,
            fix=SMALLER_BATCH,
        )
    return RunError(
        f"{runtime} cannot run {name} on a batch: {why}",
        where=where,
        fix="check the data against the model's inputs",
    )


def _other_inputs(inputs: Sequence[Any]) -> str:
    """How to give the sizes that a file leaves open, and the values."""
    values = "give real inputs with --task, for example --task arrays:FILE.npz"
    free = [
        f"--shape {spec.name}="
        + "x".join(str(size) if isinstance(size, int) else _letter(size) for size in spec.shape)
        for spec in inputs
        if any(not isinstance(size, int) for size in spec.shape)
    ]
    if not free:
        return f"every size is fixed by the file, so it is the values that do not fit: {values}"
    return (
        f"give the sizes that the model was made for: {' '.join(free)}, a number for each word; "
        f"where it is the values that do not fit, such as ids out of range, {values}"
    )


def _letter(name: str | None) -> str:
    """A free size as the file names it, if that is one plain word."""
    return name if name and name.isidentifier() else "SIZE"
