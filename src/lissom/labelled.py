"""Batches with their targets, for validation; the targets may be absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np

from lissom.arrays import (
    Array,
    Batch,
    Hasher,
    Inputs,
    as_array,
    as_inputs,
    empty,
    is_array,
    is_group,
    is_whole,
    label_key,
    take,
    whole_rows,
)
from lissom.batches import Batches, named, restartable
from lissom.errors import TaskError
from lissom.user_code import showing_user_lines

Sample: TypeAlias = "tuple[Inputs, Array | None]"

FORMS = "give (inputs, targets), a list or DataLoader of (inputs, target) pairs, or inputs alone"


@dataclass(frozen=True)
class Labelled:
    """Re-iterable (batch, targets); `labelled` is False where all targets are None.

    `count`, `names` and `spare` mean what they mean for `Batches`; `origin` says of a sample by
    its number where it came from: a file, a row of one.
    """

    restart: Callable[[], Iterator[Sample]] = field(repr=False)
    labelled: bool
    count: int | None = None
    names: tuple[str, ...] | None = None
    spare: frozenset[str] = frozenset()
    origin: Callable[[int], str] | None = field(default=None, repr=False)

    def place(self, row: int, *, batch: int, before: int) -> str:
        """Where a row of a batch came from, `before` samples having come in the batches before."""
        if self.origin is not None:
            return self.origin(before + row)
        return f"validation, batch {batch}, row {row}"

    @classmethod
    def of(
        cls, data: Any, *, rows: int = 1, batch_size: int = 32, what: str = "validation"
    ) -> Labelled:
        """Validation data in any form: a tuple (inputs, targets) of whole arrays or of lists of
        batches; an iterable of (inputs, target) pairs; or inputs alone, as for `Batches.of`.

        `rows` is how many rows of a batch make one sample: where it is 2, whole arrays hold the
        first members of all pairs, then the second members, and so does each batch. Of a dict,
        `labels` or `targets` (of one sample: `label` or `target`) are the targets.

        Raises:
            TaskError: the data can be read only once, are empty, or inputs and targets differ
                in number.
        """
        if isinstance(data, Labelled):
            return data
        if type(data) is tuple:
            return cls._of_tuple(data, rows, batch_size, what)
        if isinstance(data, Mapping) and (key := label_key(data)):
            return cls._of_tuple((_without(data, key), data[key]), rows, batch_size, what)
        if isinstance(data, Batches) or is_whole(data):
            return cls._without_targets(Batches.of(data, batch_size=batch_size, what=what))
        stream, count = restartable(data, what)
        with showing_user_lines(f"reading {what}", TaskError):
            first = next(iter(stream()), None)
        if first is None:
            raise empty(what)
        key = label_key(first) if isinstance(first, Mapping) else None
        if key is None and not _is_pair(first, what):
            return cls._without_targets(Batches.of(data, what=what))

        def restart() -> Iterator[Sample]:
            with showing_user_lines(f"reading {what}", TaskError):
                for index, item in enumerate(stream()):
                    pair = item if key is None else _apart(item, key, f"{what}, batch {index}")
                    yield _pair(pair, f"{what}, batch {index}")

        return cls(restart, True, count)

    @classmethod
    def _of_tuple(cls, data: tuple[Any, ...], rows: int, batch_size: int, what: str) -> Labelled:
        if len(data) != 2:
            raise TaskError(f"a tuple of {len(data)} is given as {what}", fix=FORMS)
        inputs, targets = data
        if targets is None:
            batches = Batches.of(inputs, batch_size=batch_size, what=what)
            return cls._without_targets(batches)
        if is_whole(inputs):
            arrays = as_inputs(inputs, f"{what} inputs")
            return cls.whole(
                arrays, as_array(targets, f"{what} targets"), rows, batch_size, what=what
            )
        return cls._beside(Batches.of(inputs, what=what), targets, rows, what)

    @classmethod
    def whole(
        cls,
        inputs: Inputs,
        targets: Array | None,
        rows: int = 1,
        batch_size: int = 32,
        *,
        what: str = "validation",
    ) -> Labelled:
        """Whole arrays cut into batches of at most `batch_size` rows."""
        total = whole_rows(inputs, what)
        samples = total // rows if targets is None or not targets.ndim else len(targets)
        if total != samples * rows or (targets is not None and targets.ndim == 0):
            raise _different(total, 0 if targets is None else targets.size, rows, what)
        starts = range(0, samples, max(1, batch_size // rows))

        def restart() -> Iterator[Sample]:
            for start in starts:
                part = slice(start, min(start + starts.step, samples))
                chosen: slice | Array = part
                if rows > 1:
                    one = np.arange(part.start, part.stop)
                    chosen = np.concatenate([one + samples * member for member in range(rows)])
                yield take(inputs, chosen), None if targets is None else targets[part]

        return cls(restart, targets is not None, len(starts))

    @classmethod
    def _beside(cls, batches: Batches, targets: Any, rows: int, what: str) -> Labelled:
        if is_group(targets) and all(len(one.shape) > 0 for one in targets):
            per_batch = [as_array(one, f"{what} targets {i}") for i, one in enumerate(targets)]
            return cls(lambda: _zipped(batches, per_batch, what), True, batches.count)
        array = as_array(targets, f"{what} targets")
        return cls(lambda: _sliced(batches, array, rows, what), True, batches.count)

    @classmethod
    def _without_targets(cls, batches: Batches) -> Labelled:
        return cls(
            lambda: ((inputs, None) for inputs in batches.restart()),
            False,
            batches.count,
            batches.names,
            batches.spare,
        )

    def __iter__(self) -> Iterator[tuple[Batch, Array | None]]:
        for index, (inputs, targets) in enumerate(self.restart()):
            yield named(inputs, self.names, self.spare, f"validation, batch {index}"), targets

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("the number of these batches is not known before they are read")
        return self.count

    def __bool__(self) -> bool:
        return True

    def bind(self, input_names: Sequence[str]) -> Labelled:
        """The same data under the model's input names, given in the model's order."""
        return replace(self, names=tuple(input_names))

    def without_targets(self) -> Labelled:
        """The same inputs, label-free."""
        return replace(
            self, restart=lambda: ((inputs, None) for inputs, _ in self.restart()), labelled=False
        )

    def digest(self) -> str:
        """SHA-256 (hex) of the names, dtypes, shapes and bytes of inputs and targets in order."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        hasher = Hasher()
        for index, (inputs, targets) in enumerate(self.restart()):
            if self.names is not None:
                inputs = named(inputs, self.names, self.spare, f"validation, batch {index}")
            hasher.inputs(inputs)
            if targets is not None:
                hasher.array("targets", targets)
        return hasher.hexdigest()


def batch_rows(inputs: Inputs | Mapping[str, Any]) -> int:
    """Rows of a batch: the first axis of its first array that has one, and not of size 1."""
    arrays = inputs.values() if isinstance(inputs, Mapping) else inputs
    return next((len(array) for array in arrays if array.ndim and len(array) != 1), 1)


def _without(item: Mapping[Any, Any], key: str) -> dict[Any, Any]:
    return {name: value for name, value in item.items() if name != key}


def _apart(item: Any, key: str, where: str) -> tuple[dict[Any, Any], Any]:
    if not isinstance(item, Mapping) or key not in item:
        raise TaskError(f"the batch has no {key!r}, as the first one has", where=where)
    return _without(item, key), item[key]


def _is_pair(item: Any, what: str) -> bool:
    if not isinstance(item, tuple | list) or not item:
        return False
    inputs = isinstance(item[0], Mapping) or is_array(item[0]) or is_group(item[0])
    if inputs and len(item) > 2:
        raise TaskError(
            f"each item of {what} is a tuple of {len(item)}; it must be (inputs, target)",
            fix="yield ((first, second), target) or ({name: array, ...}, target)",
        )
    return inputs and len(item) == 2


def _pair(item: Any, where: str) -> Sample:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise TaskError("the item is no (inputs, target) pair as the first one is", where=where)
    inputs, target = item
    return as_inputs(inputs, f"{where}, inputs"), as_array(target, f"{where}, target")


def _zipped(batches: Batches, targets: list[Array], what: str) -> Iterator[Sample]:
    for inputs, target in zip_longest(batches.restart(), targets):
        if inputs is None or target is None:
            raise TaskError(
                f"there are {len(targets)} arrays of targets, and not as many batches of inputs",
                where=what,
                fix="give one array of targets per batch",
            )
        yield inputs, target


def _sliced(batches: Batches, targets: Array, rows: int, what: str) -> Iterator[Sample]:
    start = total = 0
    for inputs in batches.restart():
        total += batch_rows(inputs)
        stop = total // rows
        if targets.ndim and stop <= len(targets):
            yield inputs, targets[start:stop]
        start = stop
    if not targets.ndim or start != len(targets):
        raise _different(total, targets.size and len(np.atleast_1d(targets)), rows, what)


def _different(inputs: int, targets: int, rows: int, what: str) -> TaskError:
    each = "one target per row" if rows == 1 else f"one target for every {rows} rows"
    return TaskError(
        f"the inputs have {inputs} rows and there are {targets} targets",
        where=what,
        fix=f"give {each} of the inputs",
    )
