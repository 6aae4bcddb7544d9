"""Peak memory of a model file, in a process that does nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lissom.arrays import Array
from lissom.measurement.process import ask, stored
from lissom.targets.named import DEFAULT


def peak_memory(
    path: Path, feeds: Mapping[str, Array], *, threads: int = 1, runtime: str = DEFAULT
) -> int | None:
    """Bytes by which loading a file and running it twice raises the peak resident set.

    A fresh process first runs a model of one Identity, so that Python, numpy and the runtime's
    own start are not counted; what is counted are weights (also as the runtime repacks them),
    activations and buffers, and file pages that are mapped. None where the system does not tell.

    Raises:
        RunError: the process died, or the file cannot be opened or run.
    """
    with stored(feeds) as arrays:
        answer = ask("memory", (path,), arrays, threads=threads, runtime=runtime)
    found = answer["bytes"]
    return None if found is None else int(found)
