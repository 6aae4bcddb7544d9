"""What a network learns from: whole arrays that the loop shuffles, or batches in their own order.

Batches that are shuffled or augmented at random must repeat when a killed run goes on, so every
pass begins with the global generators of random, numpy and torch set by the loop (`seeded`).
"""

from __future__ import annotations

import hashlib
import inspect
import random
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np

from lissom.arrays import (
    Array,
    Batch,
    Hasher,
    Inputs,
    as_array,
    as_inputs,
    is_whole,
    take,
    whole_rows,
)
from lissom.batches import named
from lissom.errors import TaskError
from lissom.labelled import Labelled

# How many batches of a stream are read for its digest and its check: all of them may be
# a day's reading.
LOOKED_AT = 8
WHAT = "train"


@dataclass(frozen=True)
class TrainingData:
    """Inputs and targets to learn from; made by `TrainingData.of`, held by `Task.train`.

    Attributes:
        inputs, targets: whole arrays, one row per sample; the loop cuts and shuffles them.
        batches: what comes in batches of its own; then there are no whole arrays.
        source: the object the batches come from, whose order the loop seeds.
        labelled: False where there are no targets.
        version: the user's own digest of a stream, or "".
        names: the model's input names, once `bind` has given them.
    """

    inputs: Inputs | None = field(default=None, repr=False)
    targets: Array | None = field(default=None, repr=False)
    batches: Labelled | None = field(default=None, repr=False)
    source: Any = field(default=None, repr=False)
    labelled: bool = True
    version: str = ""
    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, data: Any, *, batch_size: int = 32, version: str = "") -> TrainingData:
        """Training data from `(inputs, targets)` or inputs as whole arrays, from a DataLoader, a
        list or a function that returns an iterator of `(inputs, targets)` or inputs, or from a
        torch Dataset, which is shuffled and cut into `batch_size` rows.

        Raises:
            TaskError: the data can be read only once, are empty, or do not belong together.
        """
        if isinstance(data, cls):
            return data
        if type(data) is tuple and len(data) == 2 and is_whole(data[0]):
            targets = None if data[1] is None else as_array(data[1], f"{WHAT} targets")
            return cls._whole(as_inputs(data[0], WHAT), targets)
        if type(data) is not tuple and is_whole(data):
            return cls._whole(as_inputs(data, WHAT), None)
        data = _loading(data, batch_size)
        with seeded(0):
            batches = Labelled.of(data, what=WHAT)
        return cls(batches=batches, source=data, labelled=batches.labelled, version=version)

    @classmethod
    def _whole(cls, inputs: Inputs, targets: Array | None) -> TrainingData:
        rows = whole_rows(inputs, WHAT)
        if targets is not None and (targets.ndim == 0 or len(targets) != rows):
            raise TaskError(
                f"the inputs have {rows} rows and there are {targets.size} targets",
                where=WHAT,
                fix="give one target per row of the inputs",
            )
        return cls(inputs=inputs, targets=targets, labelled=targets is not None)

    @property
    def rows(self) -> int | None:
        """How many samples there are, where they are whole arrays."""
        return None if self.inputs is None else whole_rows(self.inputs, WHAT)

    @property
    def of_values(self) -> bool:
        """Whether the targets are floating: values to hit, not classes."""
        targets = self.targets
        if self.batches is not None and self.labelled:
            with seeded(0):
                targets = next((targets for _, targets in self.batches.restart()), None)
        return targets is not None and targets.dtype.kind == "f"

    def whole(self) -> Batch:
        """The whole arrays by the model's input names.

        Raises:
            TaskError: they are not as many as the model's inputs.
        """
        if self.inputs is None:
            raise ValueError("these training data are no whole arrays")
        return named(self.inputs, self.names, frozenset(), WHAT)

    def stream(self) -> Iterator[tuple[Batch, Array | None]]:
        """A pass over batches that come in their own order, by the model's input names."""
        if self.batches is None:
            raise ValueError("these training data are whole arrays")
        for index, (inputs, targets) in enumerate(self.batches.restart()):
            yield named(inputs, self.names, frozenset(), f"{WHAT}, batch {index}"), targets

    def bind(self, input_names: Sequence[str]) -> TrainingData:
        """The same data under the model's input names, given in the model's order."""
        return replace(self, names=tuple(input_names))

    def look(self, rows: int = 1024) -> Iterator[tuple[Batch, Array | None]]:
        """What can be checked before training: whole arrays in parts of `rows`, else the first
        batches of a pass."""
        if self.inputs is None:
            with seeded(0):
                yield from list(islice(self.stream(), LOOKED_AT))
            return
        arrays = self.whole()
        for start in range(0, self.rows or 0, rows):
            part = slice(start, start + rows)
            targets = None if self.targets is None else self.targets[part]
            yield {name: array[part] for name, array in arrays.items()}, targets

    def repeats(self) -> bool:
        """Whether two passes begin with the same batch when the generators are set alike."""
        return self.inputs is not None or self._first() == self._first()

    def digest(self) -> str:
        """SHA-256 (hex) of whole arrays; of a stream its `version`, or its first batches and
        length, because reading all of it may take as long as training."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        if self.inputs is not None:
            hasher = Hasher()
            hasher.inputs(take(self.inputs, slice(None)))
            if self.targets is not None:
                hasher.array("targets", self.targets)
            return hasher.hexdigest()
        assert self.batches is not None
        seen = self.version or self._first(LOOKED_AT)
        return hashlib.sha256(f"{seen} {self.batches.count}".encode()).hexdigest()

    def _first(self, count: int = 1) -> str:
        assert self.batches is not None
        hasher = Hasher()
        with seeded(0):
            for inputs, targets in islice(self.batches.restart(), count):
                hasher.inputs(inputs)
                if targets is not None:
                    hasher.array("targets", targets)
        return hasher.hexdigest()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set the global generators of random, numpy and torch; afterwards they are as before."""
    torch = sys.modules.get("torch")
    python, numpy = random.getstate(), np.random.get_state()
    try:
        if torch is None:
            seed_all(seed)
            yield
        else:
            with torch.random.fork_rng():
                seed_all(seed)
                yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_all(seed: int) -> None:
    """Set the global generators of random, numpy and torch (if it is in use) to 32 bits."""
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def check_loss(loss: Any, train: TrainingData | None) -> None:
    """Refuse a loss that cannot be called, or that has nothing to learn from.

    Raises:
        TaskError: it is so.
    """
    if loss is None:
        return
    if not callable(loss):
        raise TaskError(
            f"the loss is {type(loss).__name__!r}, not a function",
            fix="give loss=function(outputs, targets) -> scalar tensor",
        )
    if train is None:
        raise TaskError("the loss has no training data", fix="give train=(inputs, targets) too")


def code_of(function: Any) -> str:
    """What can be known of a user's function for a digest: its source, or its name and settings.

    What a closure holds is not seen.
    """
    if isinstance(function, partial):
        settings = f"{function.args!r} {sorted(function.keywords.items())!r}"
        return f"partial {code_of(function.func)} {settings}"
    kind = type(function)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(function, torch.nn.Module):
        function, text = (
            kind,
            "".join(
                f"{name} {_settings_of({**vars(part), **part._parameters, **part._buffers})}"
                for name, part in function.named_modules()
            ),
        )
    elif inspect.isroutine(function) or isinstance(function, type):
        text = ""
    else:
        function, text = kind, _settings_of(vars(function))
    try:
        return text + inspect.getsource(function)
    except (OSError, TypeError):
        return f"{text}{function.__module__}.{function.__qualname__}"


def _settings_of(fields: dict[str, Any]) -> str:
    """An object's fields as text that is the same in every process; arrays and tensors hashed."""
    parts = []
    for name, value in sorted(fields.items()):
        if isinstance(value, np.ndarray) or hasattr(value, "detach"):
            hasher = Hasher()
            hasher.array(name, as_array(value, name))
            parts.append(hasher.hexdigest())
        elif not name.startswith("_"):
            # What shows its address is another text in every process.
            parts.append(f"{name}={re.sub(r' at 0x[0-9a-fA-F]+', '', repr(value))}")
    return ", ".join(parts)


def _loading(data: Any, batch_size: int) -> Any:
    """A torch Dataset in a DataLoader; whatever else as it is."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(data, torch.utils.data.Dataset):
        return data
    ordered = isinstance(data, torch.utils.data.IterableDataset)
    return torch.utils.data.DataLoader(data, batch_size, shuffle=None if ordered else True)
