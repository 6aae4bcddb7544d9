"""The inputs that latency, memory and multiply-accumulates are measured with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lissom.arrays import Array, Batch
from lissom.axes import Axis
from lissom.errors import ModelError, RequestError, unknown
from lissom.measurement.records import Settings

if TYPE_CHECKING:
    from lissom.model import TensorSpec

# Sizes of axes that nobody named: an image's sides, and a sequence.
IMAGE = 224
LENGTH = 128
# A larger input is not made up: it would take the memory of the machine before it fails.
MOST_VALUES = 2**30


def example_feeds(
    inputs: Sequence[TensorSpec], settings: Settings, sample: Batch | None = None, seed: int = 0
) -> Batch:
    """One run's inputs at the sizes that the settings ask for.

    An axis is, in this order: what `settings.shapes` says; what the model fixes; where axes share
    a name, the size already found for it; the first axis `settings.batch`; as long as in `sample`;
    224 for the sides of an image and 128 for any other axis, or what its range has nearest. Values
    come from `sample`, repeated or cropped, so that ids stay in their range; without it floats are
    standard normal, masks and booleans 1, and integers 0, which is an id in every table.

    Args:
        inputs: what the model takes.
        settings: batch and shapes.
        sample: a batch of real inputs by name, or None.
        seed: seeds the normal values.

    Raises:
        RequestError: a shape names no input, has another rank, or contradicts what the model
            fixes, another input or the batch.
        ModelError: an input is of a type, or fixed at a size, that cannot be made up.
    """
    sample = sample or {}
    known = [spec.name for spec in inputs]
    for name in settings.shapes:
        if name not in known:
            raise unknown("input", name, known)
    sizes = _asked(inputs, settings)
    random = np.random.default_rng(seed)
    feeds = {}
    for spec in inputs:
        values = sample.get(spec.name)
        shape = _shape(spec, settings, sizes, values)
        feeds[spec.name] = (
            _made_up(spec, shape, random)
            if values is None or values.ndim != len(shape) or 0 in values.shape
            else _resized(values, shape)
        )
    _check_rows(feeds, settings)
    return feeds


def _check_rows(feeds: Batch, settings: Settings) -> None:
    """Shapes that leave no input with the batch's rows would make its samples a wrong count."""
    rows = {len(array) for name, array in feeds.items() if name in settings.shapes and array.ndim}
    every = {len(array) for array in feeds.values() if array.ndim}
    if settings.batch == 1 or not rows or settings.batch in every:
        return
    raise RequestError(
        f"the batch is {settings.batch}, and the shapes asked for begin with {min(rows)}",
        where=", ".join(f"{name} {array.shape}" for name, array in feeds.items()),
        fix=f"use --batch {min(rows)}, or begin each shape with {settings.batch}",
    )


def _asked(inputs: Sequence[TensorSpec], settings: Settings) -> dict[str, int]:
    """The sizes of named axes that follow from the shapes that were asked for."""
    sizes: dict[str, int] = {}
    for spec in inputs:
        shape = settings.shapes.get(spec.name)
        if shape is None:
            continue
        if len(shape) != len(spec.shape):
            raise RequestError(
                f"the shape asked for {spec.name!r} has {len(shape)} axes, the model's input "
                f"has {len(spec.shape)}",
                where=str(spec),
                fix=f"give {len(spec.shape)} sizes, for example {_example(spec)}",
            )
        for axis, (asked, own) in enumerate(zip(shape, spec.shape, strict=True)):
            if asked < 1 or (isinstance(own, int) and own != asked):
                raise RequestError(
                    f"axis {axis} of {spec.name!r} cannot be {asked}",
                    where=str(spec),
                    fix=f"for example {_example(spec)}",
                )
            if isinstance(own, str) and sizes.setdefault(own, asked) != asked:
                raise RequestError(
                    f"the axis {own!r} cannot be both {sizes[own]} and {asked}",
                    where=str(spec),
                    fix="axes of one name have one size",
                )
    return sizes


def _shape(
    spec: TensorSpec, settings: Settings, sizes: dict[str, int], values: Array | None
) -> tuple[int, ...]:
    """The size of each axis; those of named axes are remembered in `sizes`."""
    if spec.name in settings.shapes:
        return settings.shapes[spec.name]
    shape = []
    for axis, own in enumerate(spec.shape):
        if isinstance(own, int):
            _check_batch(spec, axis, own, settings.batch)
            size = own
        elif isinstance(own, str) and own in sizes:
            size = sizes[own]
        elif axis == 0:
            size = settings.batch
        elif values is not None and values.ndim == len(spec.shape) and values.shape[axis]:
            size = values.shape[axis]
        else:
            size = IMAGE if len(spec.shape) == 4 and axis >= 2 else LENGTH
            size = own.within(size) if isinstance(own, Axis) else size
        if isinstance(own, str):
            sizes.setdefault(own, size)
        shape.append(size)
    return tuple(shape)


def _check_batch(spec: TensorSpec, axis: int, own: int, batch: int) -> None:
    """A fixed first axis may be the batch; then no other batch can be had.

    With the default batch of 1 a run counts as one sample, whatever the first axis means.
    """
    if axis == 0 and batch not in (1, own) and len(spec.shape) > 1:
        raise RequestError(
            f"the model's input {spec.name!r} is fixed at {own} along its first axis: "
            f"batch {batch} cannot be run",
            where=str(spec),
            fix=f"use --batch {own}, or export the model with a free batch axis",
        )


def _made_up(spec: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    if math.prod(shape) > MOST_VALUES:
        raise ModelError(
            f"the model's input {spec.name!r} would hold {math.prod(shape):,} values: no example "
            "of that size is made up",
            where=str(spec),
            fix=f"ask for a smaller one, {_example(spec)}; where the size is fixed, export the "
            "model again with a smaller one",
        )
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.kind == "b" or (dtype.kind in "iu" and "mask" in spec.name.lower()):
        return np.ones(shape, dtype)
    if dtype.kind in "iu":
        return np.zeros(shape, dtype)
    raise ModelError(
        f"lissom cannot make up values of type {spec.dtype} for the input {spec.name!r}",
        where=str(spec),
        fix="give data with --task, for example --task arrays:FILE.npz",
    )


def _resized(values: Array, shape: tuple[int, ...]) -> Array:
    """Repeated or cropped along each axis."""
    for axis, size in enumerate(shape):
        if size != values.shape[axis]:
            values = np.take(values, np.arange(size) % values.shape[axis], axis=axis)
    return np.ascontiguousarray(values)


def _example(spec: TensorSpec) -> str:
    sizes = [size if isinstance(size, int) else 1 for size in spec.shape]
    return f"--shape {spec.name}={'x'.join(map(str, sizes))}"
