"""Data as batches that can be read again and again: every pass gives the same arrays in order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lissom.arrays import (
    Array,
    Batch,
    Hasher,
    Inputs,
    as_inputs,
    empty,
    is_whole,
    label_key,
    take,
    whole_rows,
)
from lissom.errors import TaskError
from lissom.user_code import showing_user_lines

__all__ = ["Array", "Batch", "Batches", "Inputs"]

ACCEPTED = (
    "an array, a dict of arrays, a list of batches, a DataLoader, "
    "or a function without arguments that returns an iterator"
)


@dataclass(frozen=True)
class Batches:
    """Input batches that can be iterated any number of times; make them with `Batches.of`.

    Attributes:
        restart: begins a new pass over the inputs, by name or by position.
        count: how many batches a pass has, None when that is not known.
        names: the model's input names, once `bind` has given them.
        spare: inputs that are left out when the model does not take them (a tokenizer makes
            `token_type_ids` whether or not the model wants them; a data set has `labels`).
    """

    restart: Callable[[], Iterator[Inputs]] = field(repr=False)
    count: int | None = None
    names: tuple[str, ...] | None = None
    spare: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        data: Any,
        input_names: Sequence[str] | None = None,
        *,
        batch_size: int = 32,
        what: str = "the data",
    ) -> Batches:
        """Batches from an array or a dict or tuple of whole arrays (cut into `batch_size` rows),
        or from batches that exist: a list, a DataLoader, a function that returns an iterator.

        Raises:
            TaskError: the data can be read only once, are empty, or are no arrays.
        """
        names = None if input_names is None else tuple(input_names)
        if isinstance(data, Batches):
            return data if names is None else data.bind(names)
        if is_whole(data):
            cut = _cut(as_inputs(data, what), batch_size, what)
            return cls(*cut, names=names, spare=_targets(data))
        stream, count = restartable(data, what)

        def restart() -> Iterator[Inputs]:
            with showing_user_lines(f"reading {what}", TaskError):
                for index, item in enumerate(stream()):
                    yield as_inputs(item, f"{what}, batch {index}")

        first = next(restart(), None)
        if first is None:
            raise empty(what)
        return cls(restart, count, names, _targets(first))

    def __iter__(self) -> Iterator[Batch]:
        for index, inputs in enumerate(self.restart()):
            yield named(inputs, self.names, self.spare, f"batch {index}")

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("the number of these batches is not known before they are read")
        return self.count

    def __bool__(self) -> bool:
        return True

    def bind(self, input_names: Sequence[str]) -> Batches:
        """The same batches under the model's input names, given in the model's order."""
        return replace(self, names=tuple(input_names))

    def digest(self) -> str:
        """SHA-256 (hex) of the names, dtypes, shapes and bytes of all batches in order."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        hasher = Hasher()
        for index, inputs in enumerate(self.restart()):
            if self.names is not None:
                inputs = named(inputs, self.names, self.spare, f"batch {index}")
            hasher.inputs(inputs)
        return hasher.hexdigest()


def _targets(first: Any) -> frozenset[str]:
    """The key of the targets that come with the inputs, which a model rarely takes."""
    key = label_key(first) if isinstance(first, Mapping) else None
    return frozenset() if key is None else frozenset({key})


def named(
    inputs: Inputs, names: tuple[str, ...] | None, spare: frozenset[str], where: str
) -> Batch:
    """One batch by the model's input names.

    Raises:
        TaskError: the arrays have no names, or are not as many as the model's inputs.
    """
    if isinstance(inputs, dict):
        if names is None or not spare:
            return inputs
        return {name: array for name, array in inputs.items() if name in names or name not in spare}
    if names is None:
        raise TaskError(
            "the inputs have no names: they were given as arrays, not as a dict",
            where=where,
            fix="give dicts {input name: array}, or call .bind([input names]) first",
        )
    if len(inputs) != len(names):
        takes = f"{len(names)} input{'s' * (len(names) != 1)} ({', '.join(names)})"
        fix = f"give a dict of arrays with the names {', '.join(names)}"
        if len(inputs) == len(names) + 1:
            fix += "; if the last array holds the labels, leave it out of calibration data, and "
            fix += "give validation data as (inputs, labels)"
        raise TaskError(
            f"a batch has {len(inputs)} array{'s' * (len(inputs) != 1)} "
            f"where the model takes {takes}",
            where=where,
            fix=fix,
        )
    return dict(zip(names, inputs, strict=True))


def restartable(data: Any, what: str) -> tuple[Callable[[], Iterable[Any]], int | None]:
    """A function that begins a new pass over the data, and the number of items if it is known.

    Raises:
        TaskError: the data can be read only once, or not at all.
    """
    if hasattr(data, "__next__") and not isinstance(data, type):
        raise _read_once(type(data).__name__, what)
    if hasattr(data, "__iter__") and not isinstance(data, str | bytes | type):
        return (lambda: data), _length(data)
    if callable(data) and not isinstance(data, type):
        return _passes(data, what), None
    fix = f"give {ACCEPTED}"
    if hasattr(data, "__getitem__") and not hasattr(data, "__iter__"):
        fix = f"wrap it: torch.utils.data.DataLoader(data, batch_size=32); or give {ACCEPTED}"
    raise TaskError(f"cannot read batches from {type(data).__name__}", where=what, fix=fix)


def _cut(inputs: Inputs, batch_size: int, what: str) -> tuple[Callable[[], Iterator[Inputs]], int]:
    rows = whole_rows(inputs, what)
    starts = range(0, rows, batch_size)
    return (lambda: (take(inputs, slice(at, at + batch_size)) for at in starts)), len(starts)


def _passes(function: Callable[[], Any], what: str) -> Callable[[], Iterable[Any]]:
    try:
        inspect.signature(function).bind()
    except ValueError:  # some compiled functions have no signature to look at
        pass
    except TypeError:
        raise TaskError(
            f"{getattr(function, '__name__', 'the function')!r} cannot be called without arguments",
            where=what,
            fix="give a function without arguments that returns an iterator over batches",
        ) from None
    with showing_user_lines(f"reading {what}", TaskError):
        first = function()
    if not hasattr(first, "__iter__"):
        raise TaskError(
            f"the function returned {type(first).__name__}, not an iterator over batches",
            where=what,
        )
    if hasattr(first, "__next__") and function() is first:
        raise _read_once("function that always returns the same iterator", what)
    return function


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # iterable datasets of torch have no length
        return None


def _read_once(kind: str, what: str) -> TaskError:
    return TaskError(
        f"a {kind} can be read only once, and lissom reads the data several times",
        where=what,
        fix="give a list (list(batches)), or a function that returns a new iterator "
        "(lambda: make_batches())",
    )
