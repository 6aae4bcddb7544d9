"""Break one layer of a quantized network, in a way that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from lissom.graph.bias_scales import fold_products
from lissom.onnx_file import read_onnx

LAYERS = ("Conv", "MatMul", "Gemm")


@dataclass(frozen=True)
class Fault:
    """What is planted where: the layer's name in both files, and the cause that is right."""

    layer: str
    cause: str
    plant: str


class Broken:
    """A quantized file (QuantizeLinear and DequantizeLinear) opened for breaking."""

    def __init__(self, path: Path) -> None:
        model = read_onnx(path)
        # A bias has the scale that it has, whatever becomes of the others.
        fold_products(model)
        self.model = ir.to_proto(model)
        self.graph = self.model.graph
        self.maker = {name: node for node in self.graph.node for name in node.output}
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.count = 0

    def layers(self) -> list[str]:
        """Names of the layers whose data and weights are codes, in order."""
        return [
            node.name
            for node in self.graph.node
            if node.op_type in LAYERS
            and self._dequantize(node.input[1]) is not None
            and self._dequantize(node.input[1]).input[0] in self.constants
            and self._dequantize(node.input[0]) is not None
        ]

    def saved(self, path: Path) -> Path:
        """Write it there."""
        onnx.save(self.model, path)
        return path

    def scale_input(self, layer: str, factor: float) -> None:
        """Multiply the scale of a layer's input, for this layer only.

        The codes stand behind those that were there, whose ends may stand for an activation.
        """
        node = self._node(layer)
        reals = self._dequantize(node.input[0])
        codes = self.maker[reals.input[0]]
        assert codes.op_type == "QuantizeLinear"
        scale = self._constant(self.array(codes.input[1]) * np.float32(factor))
        mine = self._name()
        at = list(self.graph.node).index(node)
        grid = [scale, codes.input[2]]
        for made in (
            helper.make_node("DequantizeLinear", [f"{mine}.c", *grid], [f"{mine}.r"]),
            helper.make_node("QuantizeLinear", [reals.output[0], *grid], [f"{mine}.c"]),
        ):
            self.graph.node.insert(at, made)
        node.input[0] = f"{mine}.r"
        self._rescale_bias(node, factor)

    def clip_channel(self, layer: str, share: float) -> None:
        """Cut the weights of the output channel of most power at a share of their largest."""
        node = self._node(layer)
        stored = self._dequantize(node.input[1])
        codes = self.array(stored.input[0]).copy()
        axis = next((a.i for a in stored.attribute if a.name == "axis"), 1)
        view = np.moveaxis(codes, axis, 0)
        steps = np.broadcast_to(self.array(stored.input[1]), len(view))
        powers = np.square(view.reshape(len(view), -1).astype(np.float64)).sum(axis=1) * steps**2
        channel = int(np.argmax(powers))
        limit = max(1, int(np.abs(view[channel].astype(np.int32)).max() * share))
        view[channel] = np.clip(view[channel], -limit, limit)
        stored.input[0] = self._constant(codes)

    def shift_bias(self, layer: str, channel: int, amount: float) -> None:
        """Add to one channel of a layer's bias."""
        node = self._node(layer)
        place, holder = self._bias(node)
        stored = self._dequantize(holder.input[place])
        if stored is None:
            bias = self.array(holder.input[place]).copy()
            bias.reshape(-1)[channel % bias.size] += np.float32(amount)
            holder.input[place] = self._constant(bias)
            return
        codes = self.array(stored.input[0]).copy()
        steps = np.broadcast_to(self.array(stored.input[1]), codes.shape)
        at = channel % codes.size
        codes[at] += np.int32(np.rint(amount / steps[at]))
        stored.input[0] = self._constant(codes)

    def saturate(self, layer: str) -> None:
        """Double the codes of a layer's weights and halve their scales: the same reals."""
        node = self._node(layer)
        stored = self._dequantize(node.input[1])
        codes = self.array(stored.input[0]).astype(np.int32)
        assert np.abs(codes).max() <= 63
        stored.input[0] = self._constant((2 * codes).astype(np.int8))
        stored.input[1] = self._constant(self.array(stored.input[1]) / np.float32(2))
        self._rescale_bias(node, 0.5)

    def lower(self, tensor: str) -> None:
        """Let the grid of a tensor, whose lowest code is zero, reach as far below zero as above."""
        (codes,) = (n for n in self.graph.node if n.input[0] == tensor)
        scale, zero = self.array(codes.input[1]), self.array(codes.input[2])
        assert codes.op_type == "QuantizeLinear" and zero == 0
        grid = [self._constant(2 * scale), self._constant(zero + np.uint8(128))]
        readers = [n for n in self.graph.node if n.input[0] == codes.output[0]]
        for node in (codes, *readers):
            node.input[1], node.input[2] = grid

    def array(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[name])

    def _rescale_bias(self, node: onnx.NodeProto, factor: float) -> None:
        """Keep an int32 bias at the product of the scales."""
        if len(node.input) < 3 or (stored := self._dequantize(node.input[2])) is None:
            return
        codes = self.array(stored.input[0]) / factor
        stored.input[0] = self._constant(np.rint(codes).astype(np.int32))
        stored.input[1] = self._constant(self.array(stored.input[1]) * np.float32(factor))

    def _bias(self, node: onnx.NodeProto) -> tuple[int, onnx.NodeProto]:
        if len(node.input) > 2:
            return 2, node
        (after,) = [each for each in self.graph.node if node.output[0] in each.input]
        assert after.op_type in ("Add", "Sum")
        return next(at for at, name in enumerate(after.input) if name != node.output[0]), after

    def _dequantize(self, name: str) -> onnx.NodeProto | None:
        node = self.maker.get(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def _node(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.graph.node if node.name == name)

    def _constant(self, array: np.ndarray) -> str:
        name = self._name()
        tensor = numpy_helper.from_array(np.asarray(array), name)
        self.graph.initializer.append(tensor)
        self.constants[name] = tensor
        return name

    def _name(self) -> str:
        self.count += 1
        return f"planted.{self.count}"


# Each breaks one layer of an opened file; the cause is that of the layer's largest part.
PLANTS: dict[str, tuple[str, Callable[[Broken, str], None]]] = {
    "scale times four": ("rounding", lambda broken, layer: broken.scale_input(layer, 4.0)),
    "scale through four": ("clipping", lambda broken, layer: broken.scale_input(layer, 0.25)),
    "channel clipped": ("weights", lambda broken, layer: broken.clip_channel(layer, 0.1)),
    "bias shifted": ("bias", lambda broken, layer: broken.shift_bias(layer, 5, 3.0)),
    "saturating weights": ("saturation", lambda broken, layer: broken.saturate(layer)),
}


def faults(healthy: Path, plant: str, most: int = 12) -> Iterator[Fault]:
    """The faults of one kind in up to `most` layers."""
    cause, _ = PLANTS[plant]
    layers = Broken(healthy).layers()
    if plant == "saturating weights":
        # Depthwise kernels add in 32 bits.
        layers = [layer for layer in layers if ".depth" not in layer]
    if plant == "bias shifted":
        # A Softmax takes out what is added to all of its scores.
        layers = [layer for layer in layers if ".key" not in layer]
    for layer in layers[:most]:
        yield Fault(layer, cause, plant)


def planted(healthy: Path, fault: Fault, path: Path) -> Path:
    """A healthy file with one fault in it."""
    broken = Broken(healthy)
    PLANTS[fault.plant][1](broken, fault.layer)
    return broken.saved(path)
