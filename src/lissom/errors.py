"""What can go wrong because of what was asked, each saying what, where and how to fix it.

LissomError
├── ModelError      the model cannot be opened, exported, run or compressed
├── TaskError       the data or the metric does not fit the model
├── RequestError    an option, a name, a budget or a recipe is wrong
├── FolderError     an output folder is not ours, not writable, or full
├── RunError        a process that lissom started failed
├── FormatError     a packed file is damaged, hostile, or of another version
└── MissingExtra    an optional package is not installed
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class LissomError(Exception):
    """A failure a user can cause and mend: `what` is wrong, `where`, and how to `fix` it."""

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append("where: " + self.where.replace("\n", "\n       "))
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return "\n".join(lines)


class ModelError(LissomError):
    """The model cannot be opened, exported, run or compressed."""


class TaskError(LissomError):
    """The data or the metric does not fit the model."""


class RequestError(LissomError):
    """An option, a name, a budget or a recipe is wrong."""


class FolderError(LissomError):
    """An output folder is not ours, not writable, or full."""


class RunError(LissomError):
    """A process that lissom started failed."""


class FormatError(LissomError):
    """A packed file is damaged, hostile, or of a version this lissom does not read."""


class MissingExtra(LissomError):
    """An optional package is not installed."""


_WITHOUT_GPU = (
    "; without a GPU first `pip install torch --index-url https://download.pytorch.org/whl/cpu`, "
    "or pip may fetch the much larger CUDA build"
)


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Raises:
        MissingExtra: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed",
            fix=f"pip install 'lissom[{extra}]'{_WITHOUT_GPU if module == 'torch' else ''}",
        ) from None


def unknown(kind: str, name: str, known: Iterable[str]) -> RequestError:
    """The error for a name that is not in a table, with the nearest one that is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return RequestError(f"unknown {kind} {name!r}", fix=f"{guess}known: {', '.join(names)}")
