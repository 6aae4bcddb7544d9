"""Numbers for the factors of channels, while a graph is walked through (see chains.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Numbers = NDArray[np.intp]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Channels:
    """Where the channels of a tensor lie, and the number of the factor of each.

    Attributes:
        numbers: `[channels]`.
        axes: negative, ascending; the channels are counted over all of them, the last fastest.
        sizes: of those axes.
        rank: of the tensor, or None where nothing tells.
    """

    numbers: Numbers
    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    rank: int | None = None

    def numbered(self, final: Numbers) -> Channels:
        """The same with other numbers."""
        return Channels(final[self.numbers], self.axes, self.sizes, self.rank)

    @property
    def axis(self) -> int | None:
        """The axis, if it is one."""
        return self.axes[0] if len(self.axes) == 1 else None

    def along(self) -> tuple[int, ...]:
        """A shape in which a vector of the channels broadcasts against the tensor (one axis)."""
        return (len(self.numbers), *[1] * (-self.axes[0] - 1))


@dataclass(frozen=True)
class Site:
    """A constant that takes factors up: it is multiplied by those of what its node reads, and
    divided by those of what its node gives.

    Attributes:
        node, index: the operator, and which of its inputs the constant is.
        read, given: numbers of factors, each of a shape that broadcasts to the constant's; or None.
    """

    node: ir.Node
    index: int
    read: Numbers | None
    given: Numbers | None


class Numbering:
    """The numbers given so far, and which of them must be equal."""

    def __init__(self, graph: ir.Graph, shapes: Shapes) -> None:
        self.graph, self.shapes = graph, shapes
        self.count = 1
        self.tensors: dict[ir.Value, Channels] = {}
        self.equal: list[Numbers] = []
        self.sites: list[Site] = []
        self.readers: list[tuple[ir.Node, ir.Value, Numbers]] = []
        self.bounds: list[tuple[ir.Value, Channels, float]] = []

    def of(self, value: ir.Value | None) -> Channels | None:
        """The channels of a tensor; None for one that is not followed."""
        return None if value is None else self.tensors.get(value)

    def fresh(self, count: int) -> Numbers:
        """Numbers that nothing else has."""
        self.count += count
        return np.arange(self.count - count, self.count)

    def join(self, one: Numbers, other: Numbers) -> None:
        """Let two channels share a factor."""
        self.equal.append(np.stack(np.broadcast_arrays(one, other)))

    def fix(self, channels: Channels | None) -> None:
        """Leave channels as they are."""
        if channels is not None:
            self.join(channels.numbers, np.zeros(1, np.intp))

    def give(self, node: ir.Node, channels: Channels) -> None:
        """Say where the channels of a node's first output are."""
        self.tensors[node.outputs[0]] = channels

    def shape(self, value: ir.Value | None) -> tuple[int, ...] | None:
        return None if value is None else self.shapes.get(value.name or "")


def refuse(numbering: Numbering, node: ir.Node) -> None:
    """Nothing is known of the operator: what it reads stays as it is."""
    for value in node.inputs:
        numbering.fix(numbering.of(value))
