"""What a runtime must be able to do for lissom to build for it and measure in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lissom.arrays import Batch
from lissom.errors import LissomError
from lissom.tables import Format
from lissom.targets.kernels import Clock
from lissom.targets.machine import Machine


class Session(Protocol):
    """A model file that a runtime has opened.

    Attributes:
        inputs: names of the arrays that a run takes.
        outputs: names of what a run gives, in the order of the file.
        errors: what a run raises when the runtime cannot; `failed_run` and `failed_batch` put such
            an error in words, the one about inputs made for a timed run, the other about a batch
            of the user's data for the model called `name`.
    """

    @property
    def inputs(self) -> tuple[str, ...]: ...

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def errors(self) -> tuple[type[BaseException], ...]: ...

    def __call__(self, feeds: Batch) -> list[Any]:
        """Run once; the outputs are the caller's to keep."""
        ...

    def repeated(self, feeds: Batch) -> Callable[[], object]:
        """A function that runs once on these feeds: what is timed, with as little around it."""
        ...

    def failed_run(self, error: BaseException, feeds: Batch) -> LissomError: ...

    def failed_batch(self, error: BaseException, batch: Batch, name: str) -> LissomError: ...


class Opener(Protocol):
    """Opens a file for running: all that the separate process knows of a runtime.

    With `exact`, products of 8-bit integers are added without saturation on every machine. With
    `in_turns`, several open files are run one after another, and none may keep a core busy while
    it is not run.

    Raises:
        ModelError: the runtime refuses the file; its reason is in the message.
        RunError: there is not enough memory.
    """

    def __call__(
        self, path: Path | str, *, threads: int = 1, exact: bool = False, in_turns: bool = False
    ) -> Session: ...


class Target(Protocol):
    """A runtime on a class of processor: this machine's, or another that files are built for.

    Attributes:
        name: what the user types, a key of `lissom.targets.named.RUNTIMES`.
        title: what people call it.
        version: of the runtime.
        machine: the machine we are on.
        cpu: the class of processor that files are built for.
        pair_sums: its u8 x s8 kernels add pairs of products in 16 bits, with saturation: of this
            machine by experiment, of another class by what is known of it.
        here: this machine is of that class, so that a time measured here tells something.
        must_be_exact: this machine would add wrongly what is right on that class.
        open: opens a file for running.
        clock: tells what every kernel of a file takes; None where the runtime cannot.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def machine(self) -> Machine: ...

    @property
    def cpu(self) -> str: ...

    @property
    def pair_sums(self) -> bool: ...

    @property
    def here(self) -> bool: ...

    @property
    def must_be_exact(self) -> bool: ...

    @property
    def open(self) -> Opener: ...

    @property
    def clock(self) -> Clock | None: ...

    def slow(self, format: Format) -> str | None:
        """Why layers in a format run slower here than in float, None where they do not.

        Established by experiment: docs/targets.md holds the table.
        """
        ...
