"""Columns of a table as arrays, texts or pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError

if TYPE_CHECKING:
    from lissom.model import TensorSpec


def is_text(column: Any) -> bool:
    """Whether a column holds texts."""
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_picture(column: Any) -> bool:
    """Whether a column holds encoded pictures: bytes, or bytes and a path as `datasets` has it."""
    from pyarrow import types

    if types.is_struct(column.type):
        return bool(column.type.get_field_index("bytes") >= 0)
    return bool(types.is_binary(column.type) or types.is_large_binary(column.type))


def is_number(column: Any) -> bool:
    """Whether a column holds one number a row."""
    from pyarrow import types

    kind = column.type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def texts_of(column: Any, name: str) -> list[str]:
    """A column of texts.

    Raises:
        TaskError: a row is empty (null).
    """
    _refuse_nulls(column, name)
    return [str(text) for text in column.to_pylist()]


def picture_of(column: Any, row: int) -> Path | bytes:
    """The encoded picture of a row, or the file it names."""
    value = column[row].as_py()
    if isinstance(value, dict):
        value = value.get("bytes") or Path(str(value.get("path")))
    return value if isinstance(value, Path | bytes) else b""


def array_of(column: Any, name: str, spec: TensorSpec | None = None) -> Array:
    """A column of numbers, or of lists of numbers of one shape: (rows, ...), in the input's dtype
    where that loses nothing but digits.

    Raises:
        TaskError: rows are empty or differ in length, or hold no numbers.
    """
    _refuse_nulls(column, name)
    flat, shape = _flattened(column.combine_chunks(), name)
    if not is_number(flat):
        raise TaskError(
            f"the column {name!r} holds {flat.type}, not numbers",
            where=f"column {name!r}",
            fix="write it as numbers, or as lists of numbers of one length",
        )
    array = np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(shape)
    return array if spec is None else _cast(array, name, spec)


def _flattened(values: Any, name: str) -> tuple[Any, tuple[int, ...]]:
    """The innermost values of nested lists, and the shape they have in rows."""
    from pyarrow import ChunkedArray, types

    if isinstance(values, ChunkedArray):  # combine_chunks leaves one of several where it must
        raise TaskError(f"the column {name!r} is too large for one array")
    if hasattr(values.type, "storage_type"):
        values = values.storage
    shape = [len(values)]
    while True:
        kind = values.type
        if types.is_fixed_size_list(kind):
            size = kind.list_size
        elif types.is_list(kind) or types.is_large_list(kind):
            lengths = values.value_lengths().to_numpy(zero_copy_only=False)
            size = int(lengths[0]) if len(lengths) else 0
            unlike = np.flatnonzero(lengths != size)
            if unlike.size:
                raise TaskError(
                    f"the rows of the column {name!r} differ in length: {size} in the first, "
                    f"{int(lengths[unlike[0]])} in a later one",
                    where=f"column {name!r}",
                    fix="pad the rows to one length",
                )
        else:
            return values, tuple(shape)
        values = values.flatten()
        if values.null_count:
            raise _nulls(name, values.null_count)
        shape.append(size)


def _cast(array: Array, name: str, spec: TensorSpec) -> Array:
    if array.dtype.name == spec.dtype or spec.dtype not in np.sctypeDict:
        return array
    wanted = np.dtype(spec.dtype)
    if wanted.kind == "f" and array.dtype.kind in "iuf":
        return array.astype(wanted)
    if wanted.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(wanted)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise TaskError(
                f"the column {name!r} holds numbers beyond {wanted.name}, which the model takes",
                where=f"column {name!r}",
            )
        return array.astype(wanted)
    return array


def _refuse_nulls(column: Any, name: str) -> None:
    if column.null_count:
        raise _nulls(name, column.null_count)


def _nulls(name: str, count: int) -> TaskError:
    values = f"{count:,} empty value{'s' * (count > 1)}"
    return TaskError(
        f"the column {name!r} has {values} (null)",
        where=f"column {name!r}",
        fix="drop those rows, or fill them as they were filled for training",
    )
