"""The experiment that finds which weights a kernel adds in pairs: its models and their reading.

One output channel stands for one pair of positions along the reduction axis: there its weights are
127, elsewhere 0, and all activations are 255. A channel whose sum is too small has found a pair.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FULL = 127
# What 255 * 127 twice is stored as where outputs are uint8; a saturated sum is stored as 102.
TOP = 201
STEP = np.float32(2 * 255 * FULL / TOP)


@dataclass(frozen=True)
class Experiment:
    """A model, its inputs, the pairs its channels stand for and the exact output of a channel.

    `pairs` are positions in the order of the weight's own axes (ONNX's layout).
    """

    model: bytes
    feeds: dict[str, np.ndarray]
    pairs: tuple[tuple[int, int], ...]
    exact: float
    channel_axis: int
    depth: int = 0
    weight_shape: tuple[int, ...] = ()
    group: int = 1

    def added(self, output: np.ndarray) -> set[tuple[int, int]]:
        """The pairs that were added in 16 bits somewhere."""
        channels = np.moveaxis(output, self.channel_axis, 0)
        # The border of a padded image sees one weight of a pair only: the middle is the largest.
        sums = channels.reshape(len(channels), -1).max(axis=1)[: len(self.pairs)]
        low = sums < 0.8 * self.exact
        return {pair for pair, is_low in zip(self.pairs, low, strict=True) if is_low}


def all_pairs(depth: int) -> tuple[tuple[int, int], ...]:
    return tuple(itertools.combinations(range(depth), 2))


def chain(depth: int) -> tuple[tuple[int, int], ...]:
    """Every position with the next: for depths at which all pairs are too many."""
    return tuple(itertools.pairwise(range(depth)))


def aligned(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """So many that there are kernels for full vectors of output channels: some pairs again."""
    return (pairs * 16)[: -(-len(pairs) // 16) * 16]


def codes(depth: int, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Weights `[pairs, depth]`."""
    found = np.zeros((len(pairs), depth), np.int8)
    for channel, pair in enumerate(pairs):
        found[channel, list(pair)] = FULL
    return found


def conv(
    channels: int,
    *kernel: int,
    group: int = 1,
    per_channel: bool = True,
    pairs=None,
    multiple=1,
    size: int = 9,
    signed: bool = False,
    **attributes: Any,
) -> Experiment:
    """Conv between Q/DQ, or as QLinearConv: `channels` inputs of one group."""
    depth = channels * int(np.prod(kernel))
    pairs = pairs or all_pairs(depth)
    weight = codes(depth, pairs).reshape(-1, channels, *kernel)
    # Every group has all pairs, unless a group has one input channel and `multiple` outputs.
    if group == 0:
        group = len(pairs) // multiple
        pairs = pairs[: group * multiple]
        weight = weight[: len(pairs)]
    else:
        weight = np.tile(weight, (group,) + (1,) * (weight.ndim - 1))
    x = np.full((2, channels * group, *(size for _ in kernel)), 255.0, np.float32)
    return _qdq(
        "Conv", x, weight, pairs, 0, 1, per_channel, signed=signed, group=group, **attributes
    )


def product(
    depth: int,
    *,
    op: str = "MatMul",
    rows: int = 5,
    per_channel: bool = True,
    pairs=None,
    quantized_output: bool = True,
    signed: bool = False,
    **attributes: Any,
) -> Experiment:
    """MatMul or Gemm between Q/DQ."""
    pairs = pairs or all_pairs(depth)
    weight = codes(depth, pairs)
    axis = 0
    if not attributes.get("transB"):
        weight, axis = np.ascontiguousarray(weight.T), 1
    x = np.full((rows, depth), 255.0, np.float32)
    return _qdq(op, x, weight, pairs, axis, 1, per_channel, quantized_output, signed, **attributes)


def _qdq(
    op: str,
    x: np.ndarray,
    weight: np.ndarray,
    pairs: Any,
    axis: int,
    channel_axis: int,
    per_channel: bool,
    quantized_output: bool = True,
    signed: bool = False,
    **attributes: Any,
) -> Experiment:
    channels = weight.shape[axis]
    count = (channels,) if per_channel else ()
    constants = {
        "w": weight,
        "w_scale": np.ones(count, np.float32),
        "w_zero": np.zeros(count, np.int8),
        "one": np.float32(1),
        "zero": np.int8(-128) if signed else np.uint8(0),
        "step": STEP,
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "one", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], axis=axis),
        helper.make_node(op, ["xd", "wd"], ["y" if not quantized_output else "s"], **attributes),
    ]
    exact = 2.0 * 255 * FULL
    if quantized_output:
        nodes += [
            helper.make_node("QuantizeLinear", ["s", "step", "zero"], ["sq"]),
            helper.make_node("DequantizeLinear", ["sq", "step", "zero"], ["y"]),
        ]
    model = _model(nodes, {"x": x}, constants)
    depth, group = weight.size // channels, attributes.get("group", 1)
    return Experiment(model, {"x": x}, pairs, exact, channel_axis, depth, weight.shape, group)


def integer_product(depth: int, *, rows: int = 5, constant: bool = True, pairs=None) -> Experiment:
    """MatMulInteger, its weights constant (packed beforehand) or an input."""
    pairs = pairs or all_pairs(depth)
    weight = np.ascontiguousarray(codes(depth, pairs).T)
    feeds = {"x": np.full((rows, depth), 255, np.uint8)}
    nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["y"])]
    return _integers(nodes, feeds, weight, constant, pairs, 1)


def integer_conv(channels: int, *kernel: int) -> Experiment:
    """ConvInteger."""
    depth = channels * int(np.prod(kernel))
    pairs = all_pairs(depth)
    feeds = {"x": np.full((1, channels, 9, 9), 255, np.uint8)}
    nodes = [helper.make_node("ConvInteger", ["x", "w"], ["y"])]
    return _integers(
        nodes, feeds, codes(depth, pairs).reshape(-1, channels, *kernel), True, pairs, 1
    )


def _integers(nodes, feeds, weight, constant, pairs, channel_axis) -> Experiment:
    constants = {"w": weight} if constant else {}
    if not constant:
        feeds = {**feeds, "w": weight}
    model = _model(nodes, feeds, constants, output=TensorProto.INT32)
    depth = weight.size // len(pairs)
    return Experiment(model, feeds, pairs, 2.0 * 255 * FULL, channel_axis, depth)


def dynamic_product(depth: int, *, rows: int = 5) -> Experiment:
    """What ONNX Runtime fuses to DynamicQuantizeMatMul."""
    pairs = all_pairs(depth)
    x = np.full((rows, depth), 255.0, np.float32)
    constants = {
        "w": np.ascontiguousarray(codes(depth, pairs).T),
        "scale": np.ones(len(pairs), np.float32),
    }
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "w", "xz"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["xs", "scale"], ["scales"]),
        helper.make_node("Mul", ["real", "scales"], ["y"]),
    ]
    return Experiment(
        _model(nodes, {"x": x}, constants), {"x": x}, pairs, 2.0 * 255 * FULL, 1, depth
    )


def packed_product(depth: int, *, rows: int = 5, level: int = 4) -> Experiment:
    """MatMulNBits of 8 bits: codes of 255 with a zero point of 0."""
    pairs = all_pairs(depth)
    weight = codes(depth, pairs).astype(np.uint8)
    weight[weight > 0] = 255
    blocks = np.zeros((len(pairs), -(-depth // 32), 32), np.uint8)
    blocks.reshape(len(pairs), -1)[:, :depth] = weight
    constants = {
        "w": blocks,
        "scale": np.ones(blocks.shape[:2], np.float32),
        "zero": np.zeros(blocks.shape[:2], np.uint8),
    }
    x = np.full((rows, depth), 127.0, np.float32)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "w", "scale", "zero"],
        ["y"],
        domain="com.microsoft",
        K=depth,
        N=len(pairs),
        bits=8,
        block_size=32,
        accuracy_level=level,
    )
    return Experiment(
        _model([node], {"x": x}, constants), {"x": x}, pairs, 2.0 * 127 * 255, 1, depth
    )


def attention(depth: int, *, rows: int = 5) -> Experiment:
    """QAttention: the pairs of the value projection, one key only so that attention is 1."""
    pairs = all_pairs(depth)
    width = len(pairs)
    value = codes(depth, pairs).T
    weight = np.concatenate([np.zeros_like(value)] * 2 + [value], axis=1)
    constants = {
        "w": np.ascontiguousarray(weight),
        "bias": np.zeros(3 * width, np.float32),
        "one": np.float32(1),
        "w_scale": np.ones(3 * width, np.float32),
        "zero": np.uint8(0),
        "w_zero": np.zeros(3 * width, np.int8),
    }
    x = np.full((rows, 1, depth), 255, np.uint8)
    node = helper.make_node(
        "QAttention",
        ["x", "w", "bias", "one", "w_scale", "", "zero", "w_zero"],
        ["y"],
        domain="com.microsoft",
        num_heads=1,
    )
    return Experiment(
        _model([node], {"x": x}, constants), {"x": x}, pairs, 2.0 * 255 * FULL, 2, depth
    )


def at_the_limit(experiment: Experiment) -> bytes:
    """The same model with weights of 64, whose pairs add up to exactly the limit."""
    model = onnx.load_from_string(experiment.model)
    (weight,) = (each for each in model.graph.initializer if each.name == "w")
    found = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(np.full_like(found, 64), "w"))
    for each in model.graph.initializer:
        if each.name == "step":  # so that sums of all weights are within the codes
            step = 255 * 64 * experiment.depth / 200
            each.CopyFrom(numpy_helper.from_array(np.float32(step), "step"))
    return bytes(model.SerializeToString())


def _model(
    nodes: list[onnx.NodeProto],
    feeds: dict[str, np.ndarray],
    constants: dict[str, Any],
    output: int = TensorProto.FLOAT,
) -> bytes:
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    graph = helper.make_graph(
        nodes,
        "pairing",
        inputs,
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return bytes(model.SerializeToString())
