"""Which layer the time of a run goes to, from the times of the kernels that really run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from lissom.arrays import Array
from lissom.measurement.kernel_clock import Timed
from lissom.targets.fusion import CONVERSIONS, MOVERS
from lissom.targets.kernels import Kernel

# Between memory layouts.
REORDERS = frozenset({"ReorderInput", "ReorderOutput"})
CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv"})
# What ONNX Runtime appends to the name of a node or tensor that it writes anew.
APPENDED = re.compile(r"(_nchwc|_nhwc|_token_\d+|/\w+Fusion/?)$")
# What it puts before the name of a tensor of 16 bits that it computes in float32.
WIDENED = "InsertedPrecisionFreeCast_"
SHAPES = frozenset({"Shape", "Size", "Range", "ConstantOfShape", "NonZero", "Cast", "Identity"})

Edge = tuple[str | None, str | None]


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds of one run, (openings,) each; all of it together is `whole`.

    Attributes:
        layers: by layer, of the kernels that compute.
        dequantized: by layer, of turning its stored weights to floats, a part of `layers`.
        edges: of conversions between codes and floats and between layouts, by the layers before
            and behind them; None for the graph's inputs, its outputs, and what is no layer.
        rest: of everything else.
        kernels: operators that a layer runs as.
        adding: layers whose kernel adds a further tensor to its result.
        whole: of a run.
    """

    layers: dict[str, Array]
    dequantized: dict[str, Array]
    edges: dict[Edge, Array]
    rest: Array
    kernels: dict[str, tuple[str, ...]]
    adding: frozenset[str]
    whole: Array


@dataclass(frozen=True)
class Owners:
    """The layer that each tensor and each node of a file belongs to.

    Attributes:
        tensors: the layer, or None for what belongs to none.
        nodes: likewise, by the name of the node.
    """

    tensors: dict[str, str | None]
    nodes: dict[str, str | None]


def owners(graph: onnx.GraphProto, roots: Mapping[str, str]) -> Owners:
    """Every node belongs to the layer whose result is the first behind it.

    What only moves values or computes shapes belongs to none.

    Args:
        graph: of a file as it was written, nodes in order.
        roots: the layer by each tensor that holds a layer's result.
    """
    behind: dict[str, str] = dict(roots)
    tensors: dict[str, str | None] = {}
    nodes: dict[str, str | None] = {}
    for node in reversed(graph.node):
        made = [name for name in node.output if name]
        layer = next((behind[name] for name in made if name in behind), None)
        moves = node.op_type in MOVERS | SHAPES and not any(name in roots for name in made)
        for name in made:
            tensors[name] = None if moves else layer
        if node.name:
            nodes[node.name] = None if moves else layer
        if layer is not None:
            for name in node.input:
                behind.setdefault(name, layer)
    return Owners(tensors, nodes)


def layer_times(timed: Timed, known: Owners) -> LayerTimes:
    """The times of a file's kernels by layer, by edge, and the rest.

    A kernel belongs to the layer of the node whose name it has, or of the tensor it gives, or else
    to that of the kernel behind it.
    """
    return _Attribution(timed, known).found()


class _Attribution:
    def __init__(self, timed: Timed, known: Owners) -> None:
        self.timed, self.known = timed, known
        self.maker = {name: k for k in timed.kernels for name in k.outputs if name}
        self.readers: dict[str, list[Kernel]] = {}
        for kernel in timed.kernels:
            for name in kernel.inputs:
                self.readers.setdefault(name, []).append(kernel)
        self.owner: dict[str, str | None] = {}
        for kernel in reversed(timed.kernels):
            self.owner[kernel.name] = self._owner(kernel)

    def found(self) -> LayerTimes:
        zero = np.zeros(len(self.timed.whole))
        layers: dict[str, Array] = {}
        dequantized: dict[str, Array] = {}
        edges: dict[Edge, Array] = {}
        kernels: dict[str, tuple[str, ...]] = {}
        adding: set[str] = set()
        rest = zero
        for at, kernel in enumerate(self.timed.kernels):
            time = self.timed.milliseconds[:, at]
            layer = self.owner[kernel.name]
            if self._converts(kernel):
                if not self._of_constant(kernel):
                    edge = (self._before(kernel), self._behind(kernel))
                    edges[edge] = edges.get(edge, zero) + time
                    continue
                layer = self._behind(kernel)
                if layer is not None:
                    dequantized[layer] = dequantized.get(layer, zero) + time
            if layer is None:
                rest = rest + time
                continue
            layers[layer] = layers.get(layer, zero) + time
            kernels[layer] = (*kernels.get(layer, ()), kernel.op_type)
            if kernel.op_type in CONVOLUTIONS and any(kernel.inputs[3:4]):
                adding.add(layer)
        whole = self.timed.whole
        return LayerTimes(layers, dequantized, edges, rest, kernels, frozenset(adding), whole)

    def _owner(self, kernel: Kernel) -> str | None:
        """Kernels behind it have theirs already."""
        if self._converts(kernel):
            return self._behind(kernel)
        name = kernel.name.removeprefix(WIDENED)
        while name not in self.known.nodes and name not in self.known.tensors:
            shorter = APPENDED.sub("", name)
            if shorter == name:
                names = (each.removeprefix(WIDENED) for each in kernel.outputs)
                made = (each for each in names if each in self.known.tensors)
                name = next(made, "")
                return self.known.tensors[name] if name else self._behind(kernel)
            name = shorter
        return self.known.nodes.get(name, self.known.tensors.get(name))

    def _converts(self, kernel: Kernel) -> bool:
        """Whether it stands between layers: a conversion, or a change of layout not in the file."""
        if kernel.op_type in CONVERSIONS | REORDERS:
            return True
        return kernel.op_type == "Transpose" and not self._is_of_file(kernel)

    def _is_of_file(self, kernel: Kernel) -> bool:
        return kernel.name in self.known.nodes or APPENDED.sub("", kernel.name) in self.known.nodes

    def _of_constant(self, kernel: Kernel) -> bool:
        return kernel.inputs[0] in self.timed.constants

    def _before(self, kernel: Kernel) -> str | None:
        """The layer that gives what a conversion reads, through others and what moves values."""
        maker = self.maker.get(kernel.inputs[0])
        while maker is not None and (self._converts(maker) or self.owner[maker.name] is None):
            maker = self.maker.get(maker.inputs[0]) if maker.inputs else None
        return None if maker is None else self.owner[maker.name]

    def _behind(self, kernel: Kernel) -> str | None:
        """The first layer that reads what a kernel gives, through others and what moves values."""
        waiting, seen = [kernel], {kernel.name}
        for each in waiting:
            for name in each.outputs:
                for reader in self.readers.get(name, ()):
                    layer = None if self._converts(reader) else self.owner.get(reader.name)
                    if layer is not None:
                        return layer
                    if reader.name not in seen:
                        seen.add(reader.name)
                        waiting.append(reader)
        return None
