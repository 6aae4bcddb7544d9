"""One layer of a quantized file made float again, everything else left as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lissom.diagnosis.anchors import anchors, original_network
from lissom.diagnosis.cut import Network
from lissom.quantize.affine import affine_of_range


class NotThere(Exception):
    """The file has no node of the layer's name."""


def float_again(original: Path, file: Path, layer: str, out: Path) -> None:
    """Write `file` with a layer that reads floats and has the original's weight and bias.

    Its quantizers are passed by for this layer only: who else reads the tensor reads codes still.

    Raises:
        NotThere: no node of the file has the name of one of the layer's.
    """
    first, model = original_network(original), onnx.load(file)
    second = Network(model)
    bounds = {each.tensors[0]: (each.low, each.high) for each in anchors(first)}
    found = 0
    for before in _nodes(first, layer):
        node = next((n for n in model.graph.node if n.name == before.name), None)
        if node is None or node.op_type != before.op_type:
            continue
        found += 1
        for place, name in enumerate(before.input):
            if place >= len(node.input):
                node.input.append(name)
            if name in first.constants:
                constant = onnx.TensorProto()
                constant.CopyFrom(first.constants[name])
                constant.name = f"{name}_of_the_original"
                if all(each.name != constant.name for each in model.graph.initializer):
                    model.graph.initializer.append(constant)
                node.input[place] = constant.name
            else:
                passed = _before_codes(second, node.input[place])
                node.input[place] = _bounded(model, node, passed, bounds.get(name, (None, None)))
    if not found:
        raise NotThere(layer)
    onnx.save(model, out)


def with_range(file: Path, layer: str, low: float, high: float, out: Path) -> None:
    """Write `file` with a layer whose input has a grid of its own, from `low` to `high`.

    Raises:
        NotThere: no node of that name reads codes of another's.
    """
    model = onnx.load(file)
    second = Network(model)
    node = next((n for n in model.graph.node if n.name == layer), None)
    maker = None if node is None else second.maker.get(node.input[0])
    if node is None or maker is None or maker.op_type != "DequantizeLinear":
        raise NotThere(layer)
    zero = numpy_helper.to_array(second.constants[maker.input[2]])
    affine = affine_of_range(low, high)
    # Codes of int8 are those of uint8 less 128.
    middle = int(affine.zero_point) - (128 if zero.dtype == np.int8 else 0)
    names = {"scale": np.asarray(affine.scale), "zero": np.asarray(middle, zero.dtype)}
    for name, array in names.items():
        tensor = numpy_helper.from_array(array, f"own_{name}")
        model.graph.initializer.append(tensor)
    source = _before_codes(second, node.input[0])
    pair = [
        helper.make_node("QuantizeLinear", [source, "own_scale", "own_zero"], ["own_codes"]),
        helper.make_node("DequantizeLinear", ["own_codes", "own_scale", "own_zero"], ["own"]),
    ]
    at = list(model.graph.node).index(node)
    node.input[0] = "own"
    for each in reversed(pair):
        model.graph.node.insert(at, each)
    onnx.save(model, out)


def _nodes(network: Network, layer: str) -> list[onnx.NodeProto]:
    """The layer's own node, and those of its bias and activation."""
    tensors = next(each.tensors for each in anchors(network) if each.name == layer)
    return [network.maker[name] for name in reversed(tensors)]


def _bounded(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    name: str,
    ends: tuple[float | None, float | None],
) -> str:
    """The tensor within the range of its activation, which codes may have done before."""
    if ends == (None, None):
        return name
    inputs = [name]
    for end, kind in zip(ends, ("low", "high"), strict=True):
        inputs.append("" if end is None else f"{name}_{kind}")
        if end is not None:
            tensor = numpy_helper.from_array(np.asarray(end, np.float32), inputs[-1])
            model.graph.initializer.append(tensor)
    clip = helper.make_node("Clip", inputs, [f"{name}_bounded"])
    model.graph.node.insert(list(model.graph.node).index(node), clip)
    return str(clip.output[0])


def _before_codes(network: Network, name: str) -> str:
    """The tensor whose codes, made real again, this one is; itself if it is none."""
    node = network.maker.get(name)
    if node is None or node.op_type != "DequantizeLinear":
        return name
    maker = network.maker.get(node.input[0])
    if maker is None or maker.op_type != "QuantizeLinear":
        return name
    return str(maker.input[0])
