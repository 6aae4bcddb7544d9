"""Tiny ONNX models with weights from a seed: what the tests compress, measure and take apart.

Each function returns a checked `onnx.ModelProto`; `feeds` draws inputs that fit any of them.
Activations stay in the range a trained network has (He-scaled weights, batch norms near one),
so that 8 bits keep the answers and a broken quantizer does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Array = npt.NDArray[np.generic]

# The oldest IR version that may carry each opset used here.
IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}


class Weights:
    """Named initializers drawn from one seeded generator, in the order they are asked for."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[TensorProto] = []

    def keep(self, name: str, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def draw(self, name: str, *shape: int, fan_in: int, gain: float = 2.0) -> str:
        return self.keep(name, self.rng.normal(0, np.sqrt(gain / fan_in), shape))

    def bias(self, name: str, size: int) -> str:
        return self.keep(name, self.rng.normal(0, 0.1, size))

    def batch_norm(self, prefix: str, channels: int) -> list[str]:
        """Scale, bias, mean and variance, as BatchNormalization takes them."""
        return [
            self.keep(f"{prefix}.scale", self.rng.uniform(0.8, 1.2, channels)),
            self.keep(f"{prefix}.bias", self.rng.uniform(0.0, 0.4, channels)),
            self.keep(f"{prefix}.mean", self.rng.normal(0, 0.1, channels)),
            self.keep(f"{prefix}.var", self.rng.uniform(0.6, 1.4, channels)),
        ]


def mlp(seed: int = 0, *, hidden: int = 64, opset: int = 17) -> onnx.ModelProto:
    """Classifier of two MatMul+Add layers: float32 input [batch, 16] -> logits [batch, 5]."""
    weights = Weights(seed)
    nodes = [
        node("MatMul", ["input", weights.draw("fc1.weight", 16, hidden, fan_in=16)], "fc1.product"),
        node("Add", ["fc1.product", weights.bias("fc1.bias", hidden)], "fc1"),
        node("Relu", ["fc1"], "hidden"),
        node(
            "MatMul",
            ["hidden", weights.draw("fc2.weight", hidden, 5, fan_in=hidden)],
            "fc2.product",
        ),
        node("Add", ["fc2.product", weights.bias("fc2.bias", 5)], "logits"),
    ]
    inputs = [value("input", TensorProto.FLOAT, "batch", 16)]
    output = value("logits", TensorProto.FLOAT, "batch", 5)
    return build("mlp", nodes, inputs, output, weights, opset)


def depthwise(seed: int = 0, *, opset: int = 17) -> onnx.ModelProto:
    """Depthwise-separable classifier: float32 image [batch, 3, 32, 32] -> logits [batch, 10].

    conv 3x3 stride 2 - BN - ReLU - depthwise 3x3 - BN - ReLU6 - pointwise - pool - Gemm. At opset
    13 `onnx.reference` normalizes with the batch's own statistics; compare from opset 14 on.
    """
    weights = Weights(seed)
    conv3x3 = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    stem = weights.draw("stem.weight", 16, 3, 3, 3, fan_in=27)
    stem_norm = weights.batch_norm("stem.norm", 16)
    depth = weights.draw("depth.weight", 16, 1, 3, 3, fan_in=9)
    depth_norm = weights.batch_norm("depth.norm", 16)
    point = weights.draw("point.weight", 64, 16, 1, 1, fan_in=16)
    zero, six = weights.keep("zero", 0.0), weights.keep("six", 6.0)
    rows = weights.rng.normal(0, 0.5, (10, 64))
    # Pooled features are positive: rows that sum to zero keep one class from winning always.
    head = weights.keep("head.weight", rows - rows.mean(axis=1, keepdims=True))
    nodes = [
        node("Conv", ["image", stem], "stem", strides=[2, 2], **conv3x3),
        node("BatchNormalization", ["stem", *stem_norm], "stem.normed"),
        node("Relu", ["stem.normed"], "stem.active"),
        node("Conv", ["stem.active", depth], "depth", group=16, **conv3x3),
        node("BatchNormalization", ["depth", *depth_norm], "depth.normed"),
        node("Clip", ["depth.normed", zero, six], "depth.active"),
        node("Conv", ["depth.active", point], "point", kernel_shape=[1, 1]),
        node("Relu", ["point"], "point.active"),
        node("GlobalAveragePool", ["point.active"], "pooled"),
        node("Flatten", ["pooled"], "flat", axis=1),
        node("Gemm", ["flat", head, weights.bias("head.bias", 10)], "logits", transB=1),
    ]
    inputs = [value("image", TensorProto.FLOAT, "batch", 3, 32, 32)]
    output = value("logits", TensorProto.FLOAT, "batch", 10)
    return build("depthwise", nodes, inputs, output, weights, opset)


def two_input(seed: int = 0, *, vocabulary: int = 50, opset: int = 17) -> onnx.ModelProto:
    """Classifier of numbers and words: features [batch, 8], ids [batch, sequence] -> logits.

    The ids (int64, below `vocabulary`) go through an embedding and a mean over the sequence; the
    logits are [batch, 3].
    """
    weights = Weights(seed)
    table = weights.draw("embedding.weight", vocabulary, 24, fan_in=1, gain=1.0)
    nodes = [
        node("Gather", [table, "ids"], "embedded", axis=0),
        mean_over_sequence(weights, "embedded", "words", opset),
        node("Concat", ["features", "words"], "joined", axis=1),
        node("MatMul", ["joined", weights.draw("fc1.weight", 32, 48, fan_in=32)], "fc1.product"),
        node("Add", ["fc1.product", weights.bias("fc1.bias", 48)], "fc1"),
        node("Relu", ["fc1"], "hidden"),
        node("MatMul", ["hidden", weights.draw("fc2.weight", 48, 3, fan_in=48)], "fc2.product"),
        node("Add", ["fc2.product", weights.bias("fc2.bias", 3)], "logits"),
    ]
    inputs = [
        value("features", TensorProto.FLOAT, "batch", 8),
        value("ids", TensorProto.INT64, "batch", "sequence"),
    ]
    output = value("logits", TensorProto.FLOAT, "batch", 3)
    return build("two_input", nodes, inputs, output, weights, opset)


def encoder(seed: int = 0, *, vocabulary: int = 100, opset: int = 21) -> onnx.ModelProto:
    """One transformer layer as a sentence encoder: hidden 32, 2 heads, feed-forward 64.

    input_ids and attention_mask, int64 [batch, sequence] -> embedding [batch, 32], the masked
    mean of the last hidden states, of length one.
    """
    weights = Weights(seed)
    table = weights.draw("embedding.weight", vocabulary, 32, fan_in=1, gain=1.0)
    nodes = [
        node("Gather", [table, "input_ids"], "embedded", axis=0),
        *layer_norm(weights, "norm0", "embedded", "layer.in"),
        *attention(weights, "layer.in", "attended"),
        node("Add", ["layer.in", "attended"], "residual1"),
        *layer_norm(weights, "norm1", "residual1", "normed1"),
        *dense(weights, "up", "normed1", 32, 64),
        node("Gelu", ["up"], "up.active"),
        *dense(weights, "down", "up.active", 64, 32),
        node("Add", ["normed1", "down"], "residual2"),
        *layer_norm(weights, "norm2", "residual2", "last_hidden"),
        *masked_mean(weights, "last_hidden", "mean"),
        node("LpNormalization", ["mean"], "embedding", axis=1, p=2),
    ]
    inputs = [
        value("input_ids", TensorProto.INT64, "batch", "sequence"),
        value("attention_mask", TensorProto.INT64, "batch", "sequence"),
    ]
    output = value("embedding", TensorProto.FLOAT, "batch", 32)
    return build("encoder", nodes, inputs, output, weights, opset)


def attention(weights: Weights, source: str, target: str) -> list[NodeProto]:
    """Self-attention with two heads of 16; positions whose mask is 0 get -10000 before Softmax."""
    heads = weights.keep("heads", [0, 0, 2, 16], np.int64)
    joined = weights.keep("joined", [0, 0, 32], np.int64)
    split: list[NodeProto] = []
    for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        split += [
            *dense(weights, name, source, 32, 32),
            node("Reshape", [name, heads], f"{name}.split"),
            node("Transpose", [f"{name}.split"], f"{name}.heads", perm=order),
        ]
    return [
        *split,
        node("MatMul", ["query.heads", "key.heads"], "scores"),
        node("Mul", ["scores", weights.keep("scale", 0.25)], "scores.scaled"),
        node("Cast", ["attention_mask"], "mask.float", to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask.float", weights.keep("axes12", [1, 2], np.int64)], "mask.wide"),
        node("Sub", [weights.keep("one", 1.0), "mask.wide"], "mask.absent"),
        node("Mul", ["mask.absent", weights.keep("far", -10000.0)], "mask.bias"),
        node("Add", ["scores.scaled", "mask.bias"], "scores.masked"),
        node("Softmax", ["scores.masked"], "probabilities", axis=-1),
        node("MatMul", ["probabilities", "value.heads"], "context.heads"),
        node("Transpose", ["context.heads"], "context.split", perm=[0, 2, 1, 3]),
        node("Reshape", ["context.split", joined], "context"),
        *dense(weights, "out", "context", 32, 32),
        node("Identity", ["out"], target),
    ]


def masked_mean(weights: Weights, source: str, target: str) -> list[NodeProto]:
    """Mean over axis 1 of the positions whose attention_mask is 1 (needs "mask.float")."""
    axis1 = weights.keep("axis1", [1], np.int64)
    axis2 = weights.keep("axis2", [2], np.int64)
    return [
        node("Unsqueeze", ["mask.float", axis2], "mask.column"),
        node("Mul", [source, "mask.column"], "present"),
        node("ReduceSum", ["present", axis1], "present.sum", keepdims=0),
        node("ReduceSum", ["mask.column", axis1], "present.count", keepdims=0),
        node("Div", ["present.sum", "present.count"], target),
    ]


def mean_over_sequence(weights: Weights, source: str, target: str, opset: int) -> NodeProto:
    """ReduceMean over axis 1, whose axes moved from an attribute to an input at opset 18."""
    if opset < 18:
        return node("ReduceMean", [source], target, axes=[1], keepdims=0)
    axes = weights.keep("axes", [1], np.int64)
    return node("ReduceMean", [source, axes], target, keepdims=0)


def dense(weights: Weights, name: str, source: str, width: int, out: int) -> list[NodeProto]:
    kernel = weights.draw(f"{name}.weight", width, out, fan_in=width, gain=1.0)
    return [
        node("MatMul", [source, kernel], f"{name}.product"),
        node("Add", [f"{name}.product", weights.bias(f"{name}.bias", out)], name),
    ]


def layer_norm(weights: Weights, name: str, source: str, target: str) -> list[NodeProto]:
    scale = weights.keep(f"{name}.scale", weights.rng.uniform(0.8, 1.2, 32))
    shift = weights.bias(f"{name}.bias", 32)
    return [node("LayerNormalization", [source, scale, shift], target, axis=-1, epsilon=1e-5)]


def node(kind: str, inputs: Sequence[str], output: str, **attributes: object) -> NodeProto:
    """A node with one output, called after it."""
    return helper.make_node(kind, list(inputs), [output], name=f"{output}/{kind}", **attributes)


def value(name: str, dtype: int, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def build(
    name: str,
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    output: ValueInfoProto,
    weights: Weights,
    opset: int,
) -> onnx.ModelProto:
    """The checked model of these nodes."""
    graph = helper.make_graph(nodes, name, inputs, [output], weights.tensors)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSIONS[opset],
        producer_name="lissom tests",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def saved(model: onnx.ModelProto, path: Path) -> Path:
    """Write the model there."""
    onnx.save(model, path)
    return path


def feeds(
    model: onnx.ModelProto, batch: int = 4, *, sequence: int = 7, seed: int = 0
) -> dict[str, Array]:
    """Inputs that fit a model of this file: normal floats, ids below 50, masks with some zeros.

    Images get a colour each, or pooling would make them all alike.
    """
    rng = np.random.default_rng(seed)
    sizes = {"batch": batch, "sequence": sequence}
    drawn: dict[str, Array] = {}
    for spec in model.graph.input:
        tensor = spec.type.tensor_type
        shape = [sizes.get(dim.dim_param, dim.dim_value) for dim in tensor.shape.dim]
        if spec.name == "attention_mask":
            lengths = rng.integers(1, sequence + 1, size=(batch, 1))
            drawn[spec.name] = (np.arange(sequence) < lengths).astype(np.int64)
        elif tensor.elem_type == TensorProto.INT64:
            drawn[spec.name] = rng.integers(0, 50, size=shape, dtype=np.int64)
        else:
            noise = rng.normal(size=shape)
            colour = rng.normal(size=(*shape[:2], 1, 1)) if len(shape) == 4 else 0.0
            drawn[spec.name] = (noise + colour).astype(np.float32)
    return drawn
