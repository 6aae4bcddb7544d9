"""Two small networks of realistic shape, with data, to be quantized and broken in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import NodeProto, TensorProto, numpy_helper

from lissom.batches import Batches
from lissom.diagnosis.cut import Network
from lissom.graph.optimize import Optimize, optimize
from lissom.onnx_file import write_onnx
from lissom.quantize.static import Static, static
from lissom.technique import Context
from tests.models import Array, Weights, build, node, saved, value

HIDDEN, HEADS, WIDE, WORDS = 32, 2, 64, 60


@dataclass(frozen=True)
class Quantized:
    """A network, its healthy quantized form and inputs for both."""

    original: Path
    healthy: Path
    batches: list[dict[str, Array]]


def residual(seed: int = 0, *, high: bool = False) -> onnx.ModelProto:
    """A convolutional network: image [batch, 3, 16, 16] -> logits [batch, 10], 15 layers.

    A stem, three residual blocks of plain convolutions, two of depthwise and pointwise ones, with
    batch norms, ReLU6, strides and a classifier. With `high`, most activations are large
    codes, of which 16 bits do not hold the sums.
    """
    weights = Weights(seed)
    middle = (1.0, 3.0) if high else (-0.5, 1.5)
    weights.keep("zero", 0.0)
    weights.keep("six", 6.0)
    weights.keep("eight", 8.0)
    nodes: list[NodeProto] = []

    def layer(name: str, source: str, shape: tuple[int, ...], end: str = "Clip", **more) -> str:
        fan_in = int(np.prod(shape[1:]))
        reach = np.sqrt(6.0 / fan_in)
        weights.keep(f"{name}.weight", alike(weights.rng.uniform(-reach, reach, shape), 1))
        pad = shape[2] // 2
        nodes.append(
            node("Conv", [source, f"{name}.weight"], f"{name}.sum", pads=[pad] * 4, **more)
        )
        norm = [
            weights.keep(f"{name}.scale", weights.rng.uniform(0.8, 1.6, shape[0])),
            weights.keep(f"{name}.shift", weights.rng.uniform(*middle, shape[0])),
            weights.keep(f"{name}.mean", np.zeros(shape[0])),
            weights.keep(f"{name}.var", np.ones(shape[0])),
        ]
        nodes.append(node("BatchNormalization", [f"{name}.sum", *norm], f"{name}.normed"))
        if not end:
            return f"{name}.normed"
        nodes.append(node(end, [f"{name}.normed", "zero", "six"], f"{name}.active"))
        return f"{name}.active"

    def add(name: str, one: str, other: str) -> str:
        nodes.append(node("Add", [one, other], f"{name}.sum"))
        nodes.append(node("Clip", [f"{name}.sum", "zero", "eight"], f"{name}.active"))
        return f"{name}.active"

    at = layer("stem", "image", (16, 3, 3, 3))
    for block in ("one", "two", "half"):
        inner = layer(f"{block}.first", at, (16, 16, 3, 3))
        at = add(block, layer(f"{block}.second", inner, (16, 16, 3, 3), ""), at)
    at = layer("down", at, (32, 16, 3, 3), strides=[2, 2])
    for block in ("three", "four"):
        inner = layer(f"{block}.wide", at, (48, 32, 1, 1))
        inner = layer(f"{block}.depth", inner, (48, 1, 3, 3), group=48)
        at = add(block, layer(f"{block}.narrow", inner, (32, 48, 1, 1), ""), at)
    weights.keep("head.weight", weights.rng.normal(0, 0.1, (10, 512)))
    nodes += [
        node("MaxPool", [at], "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["pooled"], "flat", axis=1),
        node("Gemm", ["flat", "head.weight", weights.bias("head.bias", 10)], "logits", transB=1),
    ]
    inputs = [value("image", TensorProto.FLOAT, "batch", 3, 16, 16)]
    output = value("logits", TensorProto.FLOAT, "batch", 10)
    return normalized(build("residual", nodes, inputs, output, weights, 17))


def alike(weight: np.ndarray, axis: int) -> np.ndarray:
    """Large weights whose neighbours along an axis have one sign, which 16 bits hold worst."""
    weight = np.sign(weight) * (np.abs(weight).max() + np.abs(weight)) / 2
    if weight.shape[axis] % 2:
        return weight
    signs = np.sign(weight.take(range(0, weight.shape[axis], 2), axis)).repeat(2, axis)
    return np.abs(weight) * signs


def normalized(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with the mean and variance that its batch norms see, as after training."""
    (batch,) = images(1, seed=99)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for norm in (each for each in model.graph.node if each.op_type == "BatchNormalization"):
        part = Network(model).between((), [norm.input[0]]).session({})
        seen = part(batch)[norm.input[0]]
        facts = (seen.mean((0, 2, 3)), seen.var((0, 2, 3)))
        for name, array in zip(norm.input[3:], facts, strict=True):
            constants[name].CopyFrom(numpy_helper.from_array(array, name))
    return model


def transformer(seed: int = 0) -> onnx.ModelProto:
    """Two encoder layers: ids int64 [batch, sequence] -> embedding [batch, 32], 12 products."""
    weights = Weights(seed)
    weights.keep("split.shape", [0, 0, HEADS, HIDDEN // HEADS], np.int64)
    weights.keep("join.shape", [0, 0, HIDDEN], np.int64)
    weights.keep("root", (HIDDEN // HEADS) ** -0.5)
    weights.draw("embedding.weight", WORDS, HIDDEN, fan_in=1, gain=1.0)
    nodes = [node("Gather", ["embedding.weight", "ids"], "embedded", axis=0)]

    def norm(name: str, source: str) -> str:
        scale = weights.keep(f"{name}.scale", weights.rng.uniform(0.8, 1.2, HIDDEN))
        shift = weights.bias(f"{name}.shift", HIDDEN)
        nodes.append(node("LayerNormalization", [source, scale, shift], name, axis=-1))
        return name

    def dense(name: str, source: str, width: int, out: int) -> str:
        # Scores that are large enough for attention to matter.
        reach = np.sqrt((16.0 if name[2:] in ("query", "key") else 3.0) / width)
        drawn = alike(weights.rng.uniform(-reach, reach, (width, out)), 0)
        kernel = weights.keep(f"{name}.weight", drawn)
        nodes.append(node("MatMul", [source, kernel], f"{name}.product"))
        # Most of what goes into Gelu is positive.
        middle = 1.5 if out == WIDE else 0.0
        bias = weights.keep(f"{name}.bias", weights.rng.normal(middle, 0.1, out))
        nodes.append(node("Add", [f"{name}.product", bias], name))
        return name

    at = norm("norm", "embedded")
    for number in ("0", "1"):
        heads = {}
        for name, order in (
            ("query", [0, 2, 1, 3]),
            ("key", [0, 2, 3, 1]),
            ("value", [0, 2, 1, 3]),
        ):
            made = dense(f"{number}.{name}", at, HIDDEN, HIDDEN)
            nodes.append(node("Reshape", [made, "split.shape"], f"{made}.split"))
            nodes.append(node("Transpose", [f"{made}.split"], f"{made}.heads", perm=order))
            heads[name] = f"{made}.heads"
        nodes += [
            node("MatMul", [heads["query"], heads["key"]], f"{number}.scores"),
            node("Mul", [f"{number}.scores", "root"], f"{number}.scaled"),
            node("Softmax", [f"{number}.scaled"], f"{number}.shares", axis=-1),
            node("MatMul", [f"{number}.shares", heads["value"]], f"{number}.mixed"),
            node("Transpose", [f"{number}.mixed"], f"{number}.turned", perm=[0, 2, 1, 3]),
            node("Reshape", [f"{number}.turned", "join.shape"], f"{number}.context"),
        ]
        out = dense(f"{number}.out", f"{number}.context", HIDDEN, HIDDEN)
        nodes.append(node("Add", [at, out], f"{number}.sum"))
        inner = norm(f"{number}.norm", f"{number}.sum")
        up = dense(f"{number}.up", inner, HIDDEN, WIDE)
        nodes.append(node("Gelu", [up], f"{up}.active"))
        down = dense(f"{number}.down", f"{up}.active", WIDE, HIDDEN)
        nodes.append(node("Add", [inner, down], f"{number}.last"))
        at = norm(f"{number}.normed", f"{number}.last")
    weights.keep("axis", [1], np.int64)
    nodes.append(node("ReduceMean", [at, "axis"], "embedding", keepdims=0))
    inputs = [value("ids", TensorProto.INT64, "batch", "sequence")]
    output = value("embedding", TensorProto.FLOAT, "batch", HIDDEN)
    return build("transformer", nodes, inputs, output, weights, 21)


def images(count: int = 2, seed: int = 0, size: float = 1.0) -> list[dict[str, Array]]:
    """Batches of eight smooth images, each with a colour of its own."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        coarse = rng.normal(size=(8, 3, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
        colour = rng.normal(size=(8, 3, 1, 1))
        drawn = size * (coarse + colour + 0.3 * rng.normal(size=(8, 3, 16, 16)))
        found.append({"image": drawn.astype(np.float32)})
    return found


def sentences(count: int = 2, seed: int = 0, words: int = WORDS) -> list[dict[str, Array]]:
    """Batches of eight sentences of twelve words, from the first `words` of the vocabulary."""
    rng = np.random.default_rng(seed)
    return [{"ids": rng.integers(0, words, (8, 12), dtype=np.int64)} for _ in range(count)]


def quantized(
    model: onnx.ModelProto,
    batches: list[dict[str, Array]],
    folder: Path,
    *,
    calibration: list[dict[str, Array]] | None = None,
    weights: str = "full",
    keep_float: tuple[str, ...] = (),
) -> Quantized:
    """The network and its static INT8 form; "reduced" weights have codes of half the width."""
    original = saved(model, folder / f"{model.graph.name}.onnx")
    graph = optimize(ir.from_proto(onnx.load(original)), Optimize(), Context())
    data = Batches.of(batches if calibration is None else calibration)
    settings = Static(weight_range=weights, keep_float=keep_float)
    healthy = folder / f"{model.graph.name}-{weights}.onnx"
    write_onnx(static(graph, settings, Context(calibration=data)), healthy)
    return Quantized(original, healthy, batches)
