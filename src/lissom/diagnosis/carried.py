"""Where operators that compute element by element, or only move values, take every axis from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from lissom.diagnosis.cut import Network

# Element by element with every operand that is no constant; others take values from the first.
BROADCAST = frozenset(
    {"Add", "Concat", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum", "Where"}
)
# What they give has no axis of what they are given, or several in one.
APART = frozenset(
    {
        "ConstantOfShape", "Flatten", "If", "Loop", "NonZero", "Range", "Reshape", "Scan", "Shape",
        "Size",
    }
)  # fmt: skip


class Carried(NamedTuple):
    """The axes of an operator's result.

    Attributes:
        rank: of the operand.
        axes: for each axis of the result, which of the operand's it is; None for a new one.
    """

    rank: int
    axes: tuple[int | None, ...]


def operands(node: onnx.NodeProto, network: Network) -> list[str]:
    """What a result takes its axes from, the likeliest first."""
    if node.op_type not in BROADCAST:
        return list(node.input[:1])
    given = node.input[1:] if node.op_type == "Where" else node.input
    return [name for name in given if name and name not in network.constants]


def carried(node: onnx.NodeProto, rank: int, network: Network) -> Carried | None:
    """The axes of a result of that rank; None where they cannot be told one by one."""
    kind = node.op_type
    if kind in APART:
        return None
    if kind == "Transpose":
        order = _numbers(node, "perm", network) or [*range(rank)][::-1]
        return Carried(rank, tuple(order)) if len(order) == rank else None
    if kind in ("Squeeze", "Unsqueeze") or kind.startswith("Reduce"):
        axes = _numbers(node, "axes", network)
        if not axes:
            return None
        if kind == "Unsqueeze":
            new = {axis % rank for axis in axes}
            old = iter(range(rank))
            return Carried(
                rank - len(new), tuple(None if at in new else next(old) for at in range(rank))
            )
        kept = kind != "Squeeze" and attribute(node, "keepdims", 1)
        whole = rank if kept else rank + len(axes)
        gone = {axis % whole for axis in axes}
        if kept:
            return Carried(whole, tuple(None if at in gone else at for at in range(whole)))
        return Carried(whole, tuple(at for at in range(whole) if at not in gone))
    if kind == "Gather":
        index = network.constants.get(node.input[1])
        if index is None or len(index.dims) > 1:
            return None
        whole = rank + 1 - len(index.dims)
        gone = set() if index.dims else {attribute(node, "axis", 0) % whole}
        return Carried(whole, tuple(at for at in range(whole) if at not in gone))
    return Carried(rank, tuple(range(rank)))


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer of a node."""
    return next((int(each.i) for each in node.attribute if each.name == name), default)


def _numbers(node: onnx.NodeProto, name: str, network: Network) -> list[int]:
    """Axes, as an attribute or as the second operand; none where they are unknown."""
    for each in node.attribute:
        if each.name == name:
            return [int(number) for number in each.ints]
    given = network.constants.get(node.input[1]) if len(node.input) > 1 else None
    if given is None:
        return []
    return [int(number) for number in np.asarray(numpy_helper.to_array(given)).reshape(-1)]
