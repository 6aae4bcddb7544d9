"""What operators that compute do to the factors of channels (see chains.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from lissom.graph.edit import constant_of
from lissom.graph.weights import attribute, is_float_constant, linear_weight
from lissom.quantize.channel_moves import MOVES
from lissom.quantize.channels import Channels, Numbering, Numbers, Site, refuse


def _same(numbering: Numbering, node: ir.Node) -> None:
    """f(x / s) = f(x) / s for a positive s."""
    channels = numbering.of(node.inputs[0])
    used = [value for value in node.outputs[1:] if value.uses() or value.is_graph_output()]
    if used or any(numbering.of(value) for value in node.inputs[1:]):
        refuse(numbering, node)
    elif channels is not None:
        numbering.give(node, channels)


def _convolution(numbering: Numbering, node: ir.Node) -> None:
    weight = node.inputs[1]
    rank = next((n for n in (3, 4, 5) if is_float_constant(weight, n)), None)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if rank is None or weight is None or weight.const_value is None or len(weight.uses()) > 1:
        return refuse(numbering, node)
    if bias is not None and not is_float_constant(bias, 1):
        return refuse(numbering, node)
    outputs, inputs, *window = weight.const_value.shape.numpy()
    group = int(attribute(node, "group", 1))
    axis = 1 - rank
    numbers = _read(numbering, node, inputs * group, axis).reshape(group, inputs)
    read = np.repeat(numbers, outputs // group, axis=0)
    given = numbering.fresh(outputs)
    ones = (1,) * len(window)
    numbering.sites.append(
        Site(node, 1, read.reshape(outputs, inputs, *ones), given.reshape(-1, 1, *ones))
    )
    if bias is not None:
        numbering.sites.append(Site(node, 2, None, given))
    numbering.give(node, Channels(given, (axis,), (outputs,), rank))
    return None


def _product(numbering: Numbering, node: ir.Node) -> None:
    layer = linear_weight(node)
    if layer is None:
        rule = _attention if node.op_type == "MatMul" else refuse
        return rule(numbering, node)
    shared = layer.value is not node.inputs[1] or len(layer.value.uses()) > 1
    bias = constant_of(layer.bias)
    if shared or (layer.bias is not None and bias is None):
        return refuse(numbering, node)
    stored = layer.value.const_value
    assert stored is not None
    shape = stored.shape.numpy()
    inputs, outputs = shape[::-1] if layer.transposed else shape
    read = _read(numbering, node, inputs, -1)
    given = numbering.fresh(outputs)
    pair = (read[None, :], given[:, None]) if layer.transposed else (read[:, None], given[None, :])
    source = numbering.of(node.inputs[0])
    rank = 2 if node.op_type == "Gemm" else source.rank if source is not None else None
    channels = Channels(given, (-1,), (outputs,), rank)
    if bias is not None and not _constant(numbering, node, 2, channels):
        return refuse(numbering, node)
    numbering.sites.append(Site(node, 1, *pair))
    numbering.give(node, channels)
    return None


def _read(numbering: Numbering, node: ir.Node, inputs: int, axis: int) -> Numbers:
    """Numbers of the channels that a layer multiplies by weights; zeros where unknown."""
    source = node.inputs[0]
    channels = numbering.of(source)
    if channels is None or source is None:
        return np.zeros(inputs, np.intp)
    if channels.axes != (axis,) or len(channels.numbers) != inputs:
        numbering.fix(channels)
        return np.zeros(inputs, np.intp)
    numbering.readers.append((node, source, channels.numbers))
    return channels.numbers


def _attention(numbering: Numbering, node: ir.Node) -> None:
    """A product of two tensors: the second's channels pass where they are not summed over."""
    first, second = (numbering.of(value) for value in node.inputs[:2])
    numbering.fix(first)
    if second is None or -2 in second.axes or -1 not in second.axes:
        numbering.fix(second)
    else:
        numbering.give(node, Channels(second.numbers, second.axes, second.sizes))


def _normalization(numbering: Numbering, node: ir.Node) -> None:
    """Whatever is normalized stays as it is; the scale and bias that follow take factors."""
    refuse(numbering, node)
    if attribute(node, "axis", -1) != -1 or not is_float_constant(node.inputs[1], 1):
        return
    vectors = [value for value in node.inputs[1:3] if value is not None]
    if not all(is_float_constant(value, 1) for value in vectors):
        return
    scale = vectors[0].const_value
    assert scale is not None
    given = numbering.fresh(scale.size)
    for index in range(1, 1 + len(vectors)):
        numbering.sites.append(Site(node, index, None, given))
    numbering.give(node, Channels(given, (-1,), (scale.size,)))


def _sum(numbering: Numbering, node: ir.Node) -> None:
    """All operands share factors; a constant takes them up."""
    known = [(value, numbering.of(value)) for value in node.inputs]
    channels = next((each for _, each in known if each is not None), None)
    if channels is None:
        return None
    rank = channels.rank
    for index, (value, other) in enumerate(known):
        if other is not None:
            if (other.axes, other.sizes) != (channels.axes, channels.sizes):
                return refuse(numbering, node)
            numbering.join(channels.numbers, other.numbers)
            rank = max(rank, other.rank) if rank and other.rank else None
        elif constant_of(value) is None or not _constant(numbering, node, index, channels):
            return refuse(numbering, node)
    numbering.give(node, Channels(channels.numbers, channels.axes, channels.sizes, rank))
    return None


def _constant(numbering: Numbering, node: ir.Node, index: int, channels: Channels) -> bool:
    """Let a constant that is added to a tensor take up its factors; whether it can."""
    value = node.inputs[index]
    array = constant_of(value)
    if array is None or array.dtype != np.float32:
        return False
    if not array.any():
        return True
    axis = channels.axis
    if axis is None or array.ndim < -axis or array.shape[axis] == 1:
        # It is one number for several channels.
        return False
    if array.shape[axis] != len(channels.numbers):
        return False
    numbering.sites.append(Site(node, index, None, channels.numbers.reshape(channels.along())))
    return True


def _scaling(numbering: Numbering, node: ir.Node) -> None:
    """A product with a constant: one number for each channel is a layer of its own."""
    arrays = [constant_of(value) for value in node.inputs]
    at = next((i for i, array in enumerate(arrays) if array is not None), None)
    tracked = [numbering.of(value) for value in node.inputs]
    if at is None:
        # A gate, which is not followed, lets pass what it multiplies.
        only = [each for each in tracked if each is not None]
        divides = node.op_type == "Div" and tracked[0] is None
        if divides or len(only) != 1 or len(only[0].numbers) == 1:
            return refuse(numbering, node)
        return numbering.give(node, only[0])
    array, source = arrays[at], tracked[1 - at]
    assert array is not None
    if (node.op_type == "Div" and at == 0) or array.dtype != np.float32:
        return refuse(numbering, node)
    wide = [axis for axis in range(-array.ndim, 0) if array.shape[axis] > 1]
    apart = source is not None and source.axes != tuple(wide)
    if node.op_type == "Div" or len(wide) != 1 or apart:
        if source is not None:
            numbering.give(node, source)
        return None
    axis, size = wide[0], array.shape[wide[0]]
    if source is not None and source.sizes != (size,):
        return refuse(numbering, node)
    given = numbering.fresh(size)
    channels = Channels(given, (axis,), (size,), None if source is None else source.rank)
    read = None if source is None else source.numbers.reshape(channels.along())
    numbering.sites.append(Site(node, at, read, given.reshape(channels.along())))
    return numbering.give(node, channels)


def _clip(numbering: Numbering, node: ir.Node) -> None:
    channels = numbering.of(node.inputs[0])
    source = node.inputs[0]
    if channels is None or source is None:
        return None
    low, high = (
        constant_of(node.inputs[i]) if len(node.inputs) > i else np.asarray(default)
        for i, default in ((1, -np.inf), (2, np.inf))
    )
    if low is None or high is None or low.item() not in (0.0, -np.inf) or not high.item() > 0:
        return refuse(numbering, node)
    if np.isfinite(high):
        numbering.bounds.append((source, channels, high.item()))
    return numbering.give(node, channels)


Rule = Callable[[Numbering, ir.Node], None]
RULES: dict[str, Rule] = {
    "Conv": _convolution,
    "Gemm": _product,
    "MatMul": _product,
    "LayerNormalization": _normalization,
    "RMSNormalization": _normalization,
    "Add": _sum,
    "Sum": _sum,
    "Sub": _sum,
    "Mul": _scaling,
    "Div": _scaling,
    "Clip": _clip,
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Identity", "Dropout", "Abs", "Neg"), _same),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _same),
    **MOVES,
}
