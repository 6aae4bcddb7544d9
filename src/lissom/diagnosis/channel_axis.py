"""Which axis of a tensor is that of its channels: the operator says that makes or reads it.

A convolution has them behind the batch and a product in the last place, whatever the rank: what a
tensor of four axes holds is an image in one network and rows of features in the next.
"""

from __future__ import annotations

from typing import NamedTuple

import onnx

from lissom.diagnosis.anchors import LINEAR
from lissom.diagnosis.carried import attribute, carried, operands
from lissom.diagnosis.cut import Network
from lissom.diagnosis.layer_node import LayerNode, constant_behind

# By their definition these have channels behind the batch, and those in the last place.
SECOND = frozenset(
    {
        "AveragePool", "BatchNormalization", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool",
        "GridSample", "GroupNormalization", "InstanceNormalization", "LRN", "LpPool", "MaxPool",
        "SpaceToDepth",
    }
)  # fmt: skip
LAST = frozenset(
    {
        "Attention", "EmbedLayerNormalization", "GRU", "GroupQueryAttention", "LSTM",
        "LayerNormalization", "MultiHeadAttention", "RMSNormalization", "RNN",
        "SimplifiedLayerNormalization", "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
)  # fmt: skip
# The axis of the channels is among those that were summed over or dropped.
NONE = -1


class LayerAxes(NamedTuple):
    """Where a layer with a constant weight has its channels; negative from the end.

    Attributes:
        data: of the tensor it reads.
        inputs, outputs: of its weight as the operator reads it.
        result: of what it gives.
    """

    data: int
    inputs: int
    outputs: int
    result: int


def layer_axes(node: onnx.NodeProto, place: int) -> LayerAxes:
    """The channels of an operator whose operand at that place is its weight."""
    kind = node.op_type
    if kind == "ConvTranspose":
        return LayerAxes(1, 0, 1, 1)
    if kind.startswith("Conv"):
        return LayerAxes(1, 1, 0, 1)
    if kind == "Gather":
        return LayerAxes(-1, -2, -1, -1)
    if kind == "Einsum" and (found := _of_equation(node, place)) is not None:
        return found
    first, second = (attribute(node, name, 0) for name in ("transA", "transB"))
    if place == 1:
        inputs, outputs = (-1, -2) if second else (-2, -1)
        return LayerAxes(-2 if first else -1, inputs, outputs, -1)
    inputs, outputs = (-2, -1) if first else (-1, -2)
    return LayerAxes(-1 if second else -2, inputs, outputs, -2)


def weight_place(node: onnx.NodeProto, weight: str, network: Network) -> int:
    """Which operand the weight is."""
    first = node.input[0] if node.input else ""
    return 0 if first and constant_behind(first, network) == weight else 1


def made_axis(network: Network, tensor: str, rank: int) -> int | None:
    """The axis of a tensor's channels by the operator that makes it; None where it has none.

    What computes element by element or moves axes is followed to the operator before. Where that
    ends at an input, or at a Reshape, images are taken for four axes and rows for any other count.

    Args:
        network: that the tensor is of.
        tensor: its name.
        rank: how many axes it has.
    """
    found = _made(network, tensor, rank, set())
    if found == NONE or rank < 1:
        return None
    if found is None:
        return (1 if rank == 4 else rank - 1) if rank > 1 else None
    return found


def read_axis(
    layer: LayerNode, network: Network, tensor: str, rank: int, data_rank: int
) -> int | None:
    """The axis of the channels of what a layer reads, by the layer; None where it has none.

    Args:
        layer: the layer.
        network: that it is of.
        tensor: the layer's data, or what they are behind codes and moved axes.
        rank, data_rank: how many axes that and the layer's data have.
    """
    axes = layer_axes(layer.node, weight_place(layer.node, layer.weight, network))
    axis = _from_start(axes.data, data_rank) if data_rank else 0
    found = _read(network, layer.data, axis, data_rank, tensor, set())
    return made_axis(network, tensor, rank) if found is None else found


def _made(network: Network, tensor: str, rank: int, seen: set[str]) -> int | None:
    """As `made_axis`; `NONE` where there is none and None where nobody says."""
    node = network.maker.get(tensor)
    if node is None or tensor in seen or rank < 1:
        return None
    seen.add(tensor)
    weight = _weight_at(node, network)
    if weight is not None or node.op_type in LINEAR:
        # A product of two activations has the channels of the second.
        return _from_start(layer_axes(node, 1 if weight is None else weight).result, rank)
    if node.op_type in LAST:
        return rank - 1
    if node.op_type in SECOND and rank > 1:
        return 1
    moved = carried(node, rank, network)
    if moved is None:
        return None
    without = False
    for name in operands(node, network):
        axis = _made(network, name, moved.rank, seen)
        if axis is not None and axis in moved.axes:
            return moved.axes.index(axis)
        without = without or axis is not None
    return NONE if without else None


def _read(
    network: Network, name: str, axis: int, rank: int, wanted: str, seen: set[str]
) -> int | None:
    """Which axis of `wanted` becomes that of a tensor behind it; None where nobody says."""
    if name == wanted:
        return axis
    node = network.maker.get(name)
    if node is None or name in seen or node.op_type in LINEAR:
        return None
    seen.add(name)
    moved = carried(node, rank, network)
    before = None if moved is None or axis >= len(moved.axes) else moved.axes[axis]
    if moved is None or before is None:
        return None
    ways = (
        _read(network, each, before, moved.rank, wanted, seen) for each in operands(node, network)
    )
    return next((found for found in ways if found is not None), None)


def _weight_at(node: onnx.NodeProto, network: Network) -> int | None:
    """The place of a constant of two or more axes that a layer multiplies by, or looks up in."""
    if node.op_type not in (*LINEAR, "Gather"):
        return None
    for place, name in enumerate(node.input[: 1 if node.op_type == "Gather" else 2]):
        constant = constant_behind(name, network)
        if constant and len(network.constants[constant].dims) >= 2:
            return place
    return None


def _from_start(axis: int, rank: int) -> int:
    """An axis counted from the first; a vector that is multiplied has but one."""
    return min(max(axis if axis >= 0 else rank + axis, 0), rank - 1)


def _of_equation(node: onnx.NodeProto, place: int) -> LayerAxes | None:
    """Of an Einsum: the letters that only the data, only the result, or neither shares."""
    equation = next((a.s.decode() for a in node.attribute if a.name == "equation"), "")
    before, arrow, result = equation.replace(" ", "").partition("->")
    terms = before.split(",")
    if not arrow or len(terms) != 2:
        return None
    weight, data = terms[place], terms[1 - place]
    made = [each for each in weight if each in result and each not in data]
    summed = [each for each in weight if each in data and each not in result]
    if not made or not summed:
        return None
    return LayerAxes(
        _letter(data, summed[-1]),
        _letter(weight, summed[-1]),
        _letter(weight, made[-1]),
        _letter(result, made[-1]),
    )


def _letter(term: str, letter: str) -> int:
    """The axis of a letter, from the end where any number of axes may stand before."""
    return term.index(letter) - (len(term) if "." in term[: term.index(letter)] else 0)
