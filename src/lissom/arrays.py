"""Arrays from whatever a user has: numbers, tensors of any library, mappings of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lissom.errors import TaskError

Array: TypeAlias = NDArray[Any]
Batch: TypeAlias = dict[str, Array]
Inputs: TypeAlias = "Batch | tuple[Array, ...]"

# What data sets and their loaders call the targets.
LABEL_KEYS = ("labels", "targets", "label", "target")


def as_array(value: Any, where: str) -> Array:
    """An array from an array, a number, nested lists, or a tensor that has `.detach().numpy()`.

    Raises:
        TaskError: the value is something else, or its rows have different lengths.
    """
    if isinstance(value, str | bytes):
        raise TaskError(
            f"expected an array, got text: {value[:40]!r}",
            where=where,
            fix="give numbers; on the command line, text:FILE and pairs:FILE tokenise text",
        )
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        value = _from_tensor(value, where)
    try:
        array: Array = np.asarray(value)
    except ValueError:
        raise TaskError(
            "the rows have different lengths, so they are no array",
            where=where,
            fix="pad the rows of a batch to one length",
        ) from None
    if array.dtype.hasobject:
        raise TaskError(
            f"expected an array of numbers, got {type(value).__name__} holding Python objects",
            where=where,
            fix="make it an array with a dtype, such as np.asarray(rows, dtype=np.float32)",
        )
    return array


def as_inputs(item: Any, where: str) -> Inputs:
    """One batch: a mapping keeps its names, a tuple or list of arrays is by position."""
    if isinstance(item, Mapping):
        if not item:
            raise TaskError("a batch is a dict without any array", where=where)
        return {str(name): as_array(value, f"{where}, {name!r}") for name, value in item.items()}
    if is_group(item):
        return tuple(as_array(value, f"{where}, array {i}") for i, value in enumerate(item))
    return (as_array(item, where),)


def is_array(value: Any) -> bool:
    """Whether it is an array or a tensor, of any library."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def is_group(value: Any) -> bool:
    """Whether it is a tuple or list of arrays."""
    return isinstance(value, tuple | list) and bool(value) and all(map(is_array, value))


def is_whole(data: Any) -> bool:
    """Whether the data are whole arrays to be cut into batches. A list is a list of batches."""
    return isinstance(data, Mapping) or is_array(data) or (type(data) is tuple and is_group(data))


def label_key(item: Mapping[Any, Any]) -> str | None:
    """The key under which a dict of a data set's columns keeps the targets, if there are inputs
    beside it."""
    return next((key for key in LABEL_KEYS if key in item and len(item) > 1), None)


def whole_rows(inputs: Inputs, what: str) -> int:
    """How many rows whole arrays have along their first axis.

    Raises:
        TaskError: they differ, or there are none.
    """
    items = inputs.items() if isinstance(inputs, dict) else enumerate(inputs)
    rows: dict[int, str | int] = {}
    for name, array in items:
        if array.ndim == 0:
            raise TaskError(
                f"{name!r} is a single number, not an array of samples",
                where=what,
                fix="give a list of batches if an input has no sample axis",
            )
        rows.setdefault(len(array), name)
    if len(rows) > 1:
        found = ", ".join(f"{name!r} has {number}" for number, name in rows.items())
        raise TaskError(
            f"the arrays have different numbers of rows: {found}",
            where=what,
            fix="give one row per sample in every array, or a list of batches",
        )
    (number,) = rows
    if number == 0:
        raise empty(what)
    return number


def take(inputs: Inputs, rows: slice | Array) -> Inputs:
    """The chosen rows of every array."""
    if isinstance(inputs, dict):
        return {name: array[rows] for name, array in inputs.items()}
    return tuple(array[rows] for array in inputs)


def empty(what: str) -> TaskError:
    """The error for data without a sample."""
    return TaskError(f"{what} has no samples", fix="give at least one batch with one row")


class Hasher:
    """SHA-256 of arrays with their names, dtypes and shapes."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def inputs(self, inputs: Inputs) -> None:
        """One batch; a dict counts by name, whatever the order of its keys."""
        items: list[tuple[str, Array]] = (
            sorted(inputs.items())
            if isinstance(inputs, dict)
            else [(str(position), array) for position, array in enumerate(inputs)]
        )
        self._sha.update(f"batch of {len(items)}\0".encode())
        for name, array in items:
            self.array(name, array)

    def array(self, name: str, array: Array) -> None:
        self._sha.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        self._sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


def _from_tensor(tensor: Any, where: str) -> Any:
    try:
        return tensor.detach().cpu().numpy()
    except TypeError:  # torch's bfloat16 has no dtype in numpy
        raise TaskError(
            f"a tensor of {tensor.dtype} cannot become an array",
            where=where,
            fix="call .float() on it",
        ) from None
