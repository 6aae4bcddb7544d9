"""What operators that rearrange axes do to the factors of channels (see chains.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lissom.graph.edit import constant_of
from lissom.graph.weights import attribute
from lissom.quantize.channels import Channels, Numbering, refuse


def _concatenation(numbering: Numbering, node: ir.Node) -> None:
    parts = [numbering.of(value) for value in node.inputs]
    known = [each for each in parts if each is not None]
    first = known[0] if known else None
    if first is None or len(known) < len(parts) or len({each.axes for each in known}) > 1:
        return refuse(numbering, node)
    axis = _negative(attribute(node, "axis", 0), first.rank)
    if axis is None or (axis in first.axes and first.axis is None):
        return refuse(numbering, node)
    if axis == first.axis:
        numbers = np.concatenate([each.numbers for each in known])
        return numbering.give(node, Channels(numbers, first.axes, (len(numbers),), first.rank))
    if len({each.sizes for each in known}) > 1:
        return refuse(numbering, node)
    for each in known[1:]:
        numbering.join(first.numbers, each.numbers)
    return numbering.give(node, first)


def _split(numbering: Numbering, node: ir.Node) -> None:
    channels = numbering.of(node.inputs[0])
    if channels is None:
        return None
    axis = _negative(attribute(node, "axis", 0), channels.rank)
    if axis is None or (axis in channels.axes and channels.axis is None):
        return refuse(numbering, node)
    parts = [channels] * len(node.outputs)
    if axis == channels.axis:
        sizes = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
        if sizes is None and (len(node.inputs) > 1 or len(channels.numbers) % len(node.outputs)):
            return refuse(numbering, node)
        cuts = len(node.outputs) if sizes is None else np.cumsum(sizes)[:-1]
        parts = [
            Channels(numbers, channels.axes, (len(numbers),), channels.rank)
            for numbers in np.split(channels.numbers, cuts)
        ]
    for value, part in zip(node.outputs, parts, strict=True):
        numbering.tensors[value] = part
    return None


def _slice(numbering: Numbering, node: ir.Node) -> None:
    channels = numbering.of(node.inputs[0])
    if channels is None:
        return None
    starts, ends, axes = (
        constant_of(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2, 3)
    )
    steps = constant_of(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1, np.int64)
    if starts is None or ends is None or axes is None or steps is None:
        return refuse(numbering, node)
    numbers = channels.numbers
    for given, start, end, step in zip(
        axes, starts, ends, np.resize(steps, axes.shape), strict=True
    ):
        axis = _negative(int(given), channels.rank)
        if axis is None or (axis in channels.axes and channels.axis is None) or step < 1:
            return refuse(numbering, node)
        if axis == channels.axis:
            numbers = numbers[int(start) : int(end) : int(step)]
    sizes = (len(numbers),) if channels.axis is not None else channels.sizes
    return numbering.give(node, Channels(numbers, channels.axes, sizes, channels.rank))


def _pad(numbering: Numbering, node: ir.Node) -> None:
    channels = numbering.of(node.inputs[0])
    if channels is None:
        return None
    pads = constant_of(node.inputs[1])
    value = constant_of(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1)
    constant = node.attributes.get_string("mode", "constant") == "constant"
    axis = channels.axis
    if pads is None or axis is None or len(node.inputs) > 3:
        return refuse(numbering, node)
    rank = len(pads) // 2
    before, after = int(pads[rank + axis]), int(pads[2 * rank + axis])
    if min(before, after) < 0 or ((before or after) and not constant):
        return refuse(numbering, node)
    if constant and (value is None or value.any()):
        return refuse(numbering, node)
    # Channels of zeros can have any factor.
    numbers = np.concatenate((numbering.fresh(before), channels.numbers, numbering.fresh(after)))
    return numbering.give(node, Channels(numbers, channels.axes, (len(numbers),), rank))


def _reduction(numbering: Numbering, node: ir.Node) -> None:
    channels = numbering.of(node.inputs[0])
    if channels is None:
        return None
    given = node.attributes.get("axes")
    found: Sequence[int] | None = None if given is None else list(given.as_ints())
    if found is None and len(node.inputs) > 1:
        array = constant_of(node.inputs[1])
        found = None if array is None else [int(axis) for axis in array.reshape(-1)]
    known = [_negative(axis, channels.rank) for axis in found or ()]
    axes = [axis for axis in known if axis is not None]
    if not axes or len(axes) < len(known) or set(axes) & set(channels.axes):
        return refuse(numbering, node)
    if attribute(node, "keepdims", 1):
        return numbering.give(node, channels)
    kept = tuple(axis + len([each for each in axes if each > axis]) for axis in channels.axes)
    rank = None if channels.rank is None else channels.rank - len(axes)
    return numbering.give(node, Channels(channels.numbers, kept, channels.sizes, rank))


def _transpose(numbering: Numbering, node: ir.Node) -> None:
    channels = numbering.of(node.inputs[0])
    if channels is None:
        return None
    order = node.attributes.get("perm")
    if order is None:
        return refuse(numbering, node)
    perm = list(order.as_ints())
    moved = [perm.index(axis + len(perm)) - len(perm) for axis in channels.axes]
    if moved != sorted(moved):
        return refuse(numbering, node)
    return numbering.give(node, Channels(channels.numbers, tuple(moved), channels.sizes, len(perm)))


def _reshape(numbering: Numbering, node: ir.Node) -> None:
    """Channels that fill the last axes before may fill other last axes after.

    And where pixels stand behind the channels, as in front of a classifier, every channel becomes
    as many of them.
    """
    channels = numbering.of(node.inputs[0])
    if channels is None:
        return None
    before, after = numbering.shape(node.inputs[0]), numbering.shape(node.outputs[0])
    if before is None or after is None:
        return refuse(numbering, node)
    first = channels.axes[0]
    whole = channels.axes == tuple(range(first, first + len(channels.axes)))
    if not whole or before[first:][: len(channels.sizes)] != channels.sizes:
        return refuse(numbering, node)
    # The numbers of everything behind the first channel axis, in memory's order.
    pixels = int(np.prod(before[first + len(channels.axes) or len(before) :]))
    numbers = channels.numbers
    count = len(numbers) * pixels
    if count < 2:
        return refuse(numbering, node)
    length, behind = 1, 0
    while length < count and behind < len(after):
        behind += 1
        length *= after[-behind]
    if length != count:
        return refuse(numbering, node)
    sizes = tuple(after[len(after) - behind :])
    if behind > 1 and pixels > 1:
        # The channels in front again, and the pixels behind.
        if sizes[0] != len(numbers):
            return refuse(numbering, node)
        return numbering.give(node, Channels(numbers, (-behind,), sizes[:1], len(after)))
    wide = [(axis, size) for axis, size in zip(range(-behind, 0), sizes, strict=True) if size > 1]
    axes, sizes = tuple(axis for axis, _ in wide), tuple(size for _, size in wide)
    return numbering.give(node, Channels(np.repeat(numbers, pixels), axes, sizes, len(after)))


def _negative(axis: float | int, rank: int | None) -> int | None:
    """An axis counted from the end, if that can be known."""
    if axis < 0:
        return int(axis)
    return None if rank is None else int(axis) - rank


MOVES = {
    "Concat": _concatenation,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Transpose": _transpose,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax"), _reduction),
}
