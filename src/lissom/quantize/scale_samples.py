"""What the layers of a graph read of the calibration data: extremes of channels, and some rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.capture import capture
from lissom.graph.edit import constant_of
from lissom.graph.weights import linear_weight
from lissom.quantize.chains import Bound, Reader
from lissom.quantize.channels import Channels
from lissom.quantize.layer_rows import Window
from lissom.quantize.scale_choice import Sample

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]

# Operators before and after which shapes are looked at.
REARRANGE = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
# Rows that are kept of each layer, fewer of a wide one; and bytes of all that one pass keeps.
ROWS = 1024
VALUES = 1 << 21
BUDGET = 1 << 28


def shapes_seen(model: ir.Model, batches: Iterable[Arrays]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors around operators that rearrange axes, in the first batch."""
    values: set[str] = set()
    for node in model.graph:
        if node.op_type in REARRANGE and not node.domain:
            for value in (node.inputs[0], node.outputs[0]):
                if value is not None and value.producer() is not None and value.name:
                    values.add(value.name)
    if not values:
        return {}
    first = next(iter(batches), None)
    found = next(capture(model, sorted(values), [] if first is None else [first]), {})
    return {name: tuple(array.shape) for name, array in found.items()}


class Extremes:
    """Smallest and largest value of each channel, never above and below zero."""

    def __init__(self, size: int) -> None:
        self.low = np.zeros(size, np.float32)
        self.high = np.zeros(size, np.float32)

    def observe(self, array: NDArray[Any], axes: tuple[int, ...]) -> None:
        """Take in a batch whose channels lie along `axes`, counted from the end."""
        others = tuple(axis for axis in range(-array.ndim, 0) if axis not in axes)
        if array.size:
            self.low = np.minimum(self.low, array.min(axis=others).reshape(-1))
            self.high = np.maximum(self.high, array.max(axis=others).reshape(-1))


class _Seen:
    """What a pass has seen of one layer."""

    def __init__(self, reader: Reader) -> None:
        self.window = Window.of(reader.node)
        self.weight, self.owners = _columns(reader, self.window.group)
        self.rows: list[Floats] = []
        self.most = max(64, min(ROWS, VALUES // self.owners.size))

    def sample(self, extremes: Extremes) -> Sample:
        rows = np.concatenate(self.rows) if self.rows else np.zeros((0, *self.owners.shape))
        rows = rows.astype(np.float32, copy=False)
        return Sample(rows, self.weight, self.owners, extremes.low, extremes.high)


def passes(groups: Sequence[Sequence[Reader]]) -> list[list[Sequence[Reader]]]:
    """Groups of layers whose rows are kept at one time, so that memory is bounded."""
    found: list[list[Sequence[Reader]]] = []
    room = 0
    for group in groups:
        size = sum(4 * min(VALUES, ROWS * _depth(reader)) for reader in group)
        if not found or size > room:
            found.append([])
            room = BUDGET
        found[-1].append(group)
        room -= size
    return found


def _depth(reader: Reader) -> int:
    """Values of a row, of all groups."""
    return len(reader.numbers) * int(np.prod(Window.of(reader.node).kernel))


def sampled(
    model: ir.Model,
    readers: Sequence[Reader],
    extremes: Mapping[ir.Value, Extremes],
    batches: Iterable[Arrays],
    count: int,
    *,
    seed: int,
) -> dict[ir.Node, Sample]:
    """Some rows of every layer, from the batches that nothing is fitted to.

    Args:
        model: what the readers are in.
        readers: layers.
        extremes: of the channels that they read.
        batches: to run it on.
        count: how many there are.
        seed: of the rows drawn.
    """
    random = np.random.default_rng(seed)
    seen = {reader.node: _Seen(reader) for reader in readers}
    names = [reader.source.name or "" for reader in readers]
    for arrays in capture(model, names, _judging(batches, count)):
        for reader in readers:
            one, array = seen[reader.node], arrays[reader.source.name or ""]
            one.rows.append(one.window.rows(array, -(-one.most // max(1, count // 2)), random))
        arrays.clear()
    return {reader.node: seen[reader.node].sample(extremes[reader.source]) for reader in readers}


def _judging(batches: Iterable[Arrays], count: int) -> Iterator[Arrays]:
    """Every second batch; the only one, where there is no other."""
    return (batch for index, batch in enumerate(batches) if index % 2 or count == 1)


Reached = dict[ir.Value, Extremes]


def channel_reach(
    model: ir.Model, values: Mapping[ir.Value, Channels], batches: Iterable[Arrays]
) -> tuple[Reached, Reached]:
    """Extremes of the channels of tensors: over every second batch, from the first, and over all.

    What is fitted to the former can be judged on the rest.
    """
    names = {value.name or "": value for value in values}
    fitted, everything = (
        {value: Extremes(len(channels.numbers)) for value, channels in values.items()}
        for _ in range(2)
    )
    for index, arrays in enumerate(capture(model, list(names), batches if names else ())):
        for name, array in arrays.items():
            value = names[name]
            for found in (everything, fitted) if index % 2 == 0 else (everything,):
                found[value].observe(array, values[value].axes)
        arrays.clear()
    return fitted, everything


def least_factors(
    bounds: Sequence[Bound], reached: Mapping[ir.Value, Extremes], margin: float, count: int
) -> NDArray[np.float64]:
    """The smallest factors `[count]` at which no channel crosses the bound of a Clip.

    Infinite for channels that come near it as they are, within a factor `margin`.
    """
    least = np.zeros(count)
    for bound in bounds:
        share = reached[bound.source].high.astype(np.float64) * margin / bound.high
        np.maximum.at(least, bound.channels.numbers, np.where(share > 1, np.inf, share))
    return least


def _columns(reader: Reader, group: int) -> tuple[Floats, NDArray[np.intp]]:
    """A layer's weight `[groups, outputs, depth]`, and the channel of each column."""
    channels = np.arange(len(reader.numbers))
    layer = linear_weight(reader.node)
    if layer is not None:
        return np.ascontiguousarray(layer.matrix().T)[None], channels[None]
    kernel = constant_of(reader.node.inputs[1])
    assert kernel is not None
    weight = np.asarray(kernel, np.float32).reshape(group, len(kernel) // group, -1)
    window = int(np.prod(kernel.shape[2:]))
    return weight, np.repeat(channels.reshape(group, -1), window, axis=1)
