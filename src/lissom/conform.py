"""Whether batches are what a model takes: names, dtypes, shapes, finite numbers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lissom.arrays import Array, Batch
from lissom.errors import TaskError

if TYPE_CHECKING:
    from lissom.model import TensorSpec


def conform(batch: Batch, inputs: Sequence[TensorSpec], where: str) -> None:
    """Check one batch against the model's inputs; `where` names the batch in the error.

    Raises:
        TaskError: a name, dtype, rank or fixed dimension differs, dimensions of one name differ
            between inputs, or floating data hold NaN or infinity.
    """
    _check_names(batch, inputs, where)
    sizes: dict[str, tuple[int, str]] = {}
    for spec in inputs:
        array = batch[spec.name]
        _check_dtype(array, spec, where)
        _check_shape(array, spec, where)
        _check_finite(array, spec.name, where)
        for dimension, size in zip(spec.shape, array.shape, strict=True):
            if not isinstance(dimension, str):
                continue
            known, other = sizes.setdefault(dimension, (size, spec.name))
            if known != size:
                raise TaskError(
                    f"{dimension!r} is {known} in {other!r} and {size} in {spec.name!r}",
                    where=where,
                    fix=f"the model calls both dimensions {dimension!r}: make them equal",
                )


def check_finite(array: Array, what: str, where: str) -> None:
    """Refuse floating data with NaN or infinity.

    Raises:
        TaskError: there is one.
    """
    _check_finite(array, what, where)


def signature(spec: TensorSpec) -> str:
    """An input in words: `pixels (float32, batch x 3 x 224 x 224)`."""
    shape = " x ".join("?" if size is None else str(size) for size in spec.shape)
    return f"{spec.name} ({spec.dtype}, {shape or 'a single number'})"


def _check_names(batch: Batch, inputs: Sequence[TensorSpec], where: str) -> None:
    names = [spec.name for spec in inputs]
    extra = [name for name in batch if name not in names]
    missing = [name for name in names if name not in batch]
    takes = "the model takes: " + ", ".join(map(signature, inputs))
    if extra:
        near = difflib.get_close_matches(extra[0], missing, n=1, cutoff=0.5)
        fits = [
            spec.name
            for spec in inputs
            if spec.name in missing and _fits(np.shape(batch[extra[0]]), spec)
        ]
        fix = f"leave it out; {takes}"
        if near:
            fix = f"did you mean {near[0]!r}? {takes}"
        elif len(fits) == 1 or len(missing) == len(extra) == 1:
            fix = f"rename it to {(fits if len(fits) == 1 else missing)[0]!r}; {takes}"
        if extra[0] in ("label", "labels", "target", "targets"):
            fix = f"give labels apart from the inputs: validation=(inputs, labels); {takes}"
        raise TaskError(f"{extra[0]!r} is not an input of the model", where=where, fix=fix)
    if missing:
        raise TaskError(
            f"the data lack the model's input {missing[0]!r}",
            where=where,
            fix=f"add it to every batch; {takes}",
        )


def _check_dtype(array: Array, spec: TensorSpec, where: str) -> None:
    if array.dtype.name == spec.dtype:
        return
    if array.dtype.kind in "USO" and spec.dtype in ("string", "object"):
        return
    written = {"bool": "bool", "bfloat16": "ml_dtypes.bfloat16"}.get(spec.dtype, f"np.{spec.dtype}")
    raise TaskError(
        f"{spec.name!r} is {array.dtype.name}, and the model takes {spec.dtype}",
        where=where,
        fix=f"{spec.name}.astype({written})",
    )


def _check_shape(array: Array, spec: TensorSpec, where: str) -> None:
    if _fits(array.shape, spec):
        return
    raise TaskError(
        f"{spec.name!r} has shape {array.shape}, and the model takes {signature(spec)}",
        where=where,
        fix=_reshaping(array.shape, spec),
    )


def _check_finite(array: Array, name: str, where: str) -> None:
    if array.dtype.kind not in "fc":
        return
    finite = np.isfinite(array)
    bad = array.size - int(finite.sum())
    if bad:
        kind = "NaN" if np.isnan(array).any() else "infinity"
        row = f", row {np.argwhere(~finite)[0][0]}" if array.ndim else ""
        raise TaskError(
            f"{name!r} contains {kind} ({bad} of {array.size} numbers are not finite)",
            where=f"{where}{row}",
            fix="clean the data: np.isfinite finds the rows",
        )


def _fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        not isinstance(wanted, int) or wanted == size
        for wanted, size in zip(spec.shape, shape, strict=True)
    )


def _reshaping(shape: tuple[int, ...], spec: TensorSpec) -> str:
    """The smallest change that makes the shape fit, as code, or that it has to change."""
    name, rank = spec.name, len(shape)
    for axis in range(rank + 1):
        if _fits((*shape[:axis], 1, *shape[axis:]), spec):
            kind = "it lacks the batch axis: " if axis == 0 else ""
            return f"{kind}np.expand_dims({name}, {axis})"
    for axis in range(rank):
        if shape[axis] == 1 and _fits((*shape[:axis], *shape[axis + 1 :]), spec):
            return f"{name}.squeeze({axis})"
    if rank == len(spec.shape) and rank > 1:
        if _fits((shape[0], shape[-1], *shape[1:-1]), spec):
            return f"put the channels first: np.moveaxis({name}, -1, 1)"
        if _fits((shape[0], *shape[2:], shape[1]), spec):
            return f"put the channels last: np.moveaxis({name}, 1, -1)"
        fixed = spec.shape[0]
        if isinstance(fixed, int) and _fits((fixed, *shape[1:]), spec):
            return (
                f"the model takes batches of exactly {fixed}: Task(..., batch_size={fixed}), and "
                f"a multiple of {fixed} samples; or export it with a dynamic batch axis"
            )
    return "reshape, crop or pad the data to the shape the model takes"
