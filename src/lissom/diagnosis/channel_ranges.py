"""Which channels hold the range of a tensor, and what a weight's channels are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from lissom.diagnosis.carried import attribute
from lissom.diagnosis.channel_axis import layer_axes, weight_place
from lissom.diagnosis.cut import Network
from lissom.diagnosis.layer_node import LayerNode
from lissom.report.diagnosis import Channels

Array = NDArray[Any]
# Channels that are named.
NAMED = 8
TINY = 1e-30


def widest_channels(axis: Any, magnitudes: Array) -> Channels:
    """The channels of largest magnitude, and how far the widest is from the median one."""
    order = np.argsort(-magnitudes, kind="stable")
    median = float(np.median(magnitudes))
    spread = float(magnitudes[order[0]]) / max(median, TINY) if magnitudes.size else 1.0
    # Those that hold the range: more than half as wide as the widest.
    worst = [int(at) for at in order[:NAMED] if magnitudes[at] > magnitudes[order[0]] / 2]
    return Channels(axis=axis, count=int(magnitudes.size), worst=tuple(worst), spread=spread)


def weight_channels(layer: LayerNode, network: Network) -> list[Channels]:
    """The input and output channels of a layer's weight, numbered as the network has them."""
    place = weight_place(layer.node, layer.weight, network)
    operand = layer.node.input[place]
    if operand == layer.weight:
        array = numpy_helper.to_array(network.constants[operand])
    else:
        # As the operator reads it, behind what changes its form.
        array = network.between((), [operand]).session({})({})[operand]
    array = np.abs(array.astype(np.float32))
    axes = layer_axes(layer.node, place)
    inputs, outputs = axes.inputs % array.ndim, axes.outputs % array.ndim
    groups = attribute(layer.node, "group", 1) if layer.node.op_type.startswith("Conv") else 1
    if groups == 1:
        found = {"input": _largest(array, inputs), "output": _largest(array, outputs)}
    else:
        found = _grouped(array, inputs, outputs, groups)
    return [widest_channels(name, magnitudes) for name, magnitudes in found.items()]


def _largest(array: Array, axis: int) -> Array:
    """The largest number of each channel."""
    found: Array = array.max(axis=tuple(at for at in range(array.ndim) if at != axis))
    return found


def _grouped(array: Array, inputs: int, outputs: int, groups: int) -> dict[str, Array]:
    """Of a grouped convolution: its first axis has all groups' channels, its second one group's."""
    blocks = array.reshape(groups, -1, *array.shape[1:]).max(axis=tuple(range(3, array.ndim + 1)))
    all_of, one_of = blocks.max(axis=2).reshape(-1), blocks.max(axis=1).reshape(-1)
    if blocks.shape[1:] == (1, 1):
        # One number a channel, which it has for both.
        return {"output": all_of}
    return {"input": one_of, "output": all_of} if inputs else {"input": all_of, "output": one_of}
