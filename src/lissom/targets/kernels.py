"""What really runs when a runtime runs a file, and how a runtime's clock for it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lissom.arrays import Array, Batch

# Runs of a turn: the first of them finds the caches full of another file's data.
TURN = 5


@dataclass(frozen=True)
class Kernel:
    """One kernel of the graph that runs: its name and operator, and the tensors it is given.

    Name and operator are those of a node of the file where the kernel came from one; of several
    the one with weights.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Clocked(Protocol):
    """A file that is open with the runtime's clock on."""

    def turn(self, feeds: Batch) -> None:
        """Run some times, `TURN` or as many as the clock needs."""
        ...

    def taken(self) -> Array:
        """(stretches, kernels) milliseconds of each kernel in a run, in stretches of runs.

        Asked once, after the last turn.
        """
        ...


class ClockedFile(Protocol):
    """A file as the runtime runs it.

    Attributes:
        kernels: of the main graph, in order; what runs in the body of a loop is in the time of
            the loop.
        constants: tensors that are the same in every run.
    """

    @property
    def kernels(self) -> tuple[Kernel, ...]: ...

    @property
    def constants(self) -> frozenset[str]: ...

    def open(self, threads: int) -> Clocked:
        """Open it anew with the clock on."""
        ...


class Clock(Protocol):
    """How a runtime tells what every kernel of a file takes."""

    def file(self, path: Path, folder: Path) -> ClockedFile:
        """A file to be timed.

        Args:
            path: of the file, whose nodes have names of their own.
            folder: an empty one that is there as long as the file is timed.

        Raises:
            ModelError: the runtime refuses it.
        """
        ...

    def settled(self, openings: Sequence[Array]) -> Array:
        """(openings, kernels) milliseconds from what each opening of a file took."""
        ...


def undisturbed(times: Sequence[int]) -> float:
    """The mean of the fastest quarter: others use the machine too, which makes nothing faster.

    A mean, since clocks count whole microseconds. The first of each turn is left out.

    Args:
        times: of runs in turns of `TURN`.
    """
    warm = [time for at, time in enumerate(times) if at % TURN]
    return float(np.sort(warm)[: max(1, len(warm) // 4)].mean())
