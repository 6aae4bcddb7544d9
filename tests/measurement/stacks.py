"""Models for timing: stacks of matrix products, as deep and wide as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def graph_of(nodes, inputs, outputs, weights, *, opset: int = 21) -> onnx.ModelProto:
    """A model with the standard and Microsoft's operators; weights are arrays by name."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            inputs,
            outputs,
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )


def floats(name: str, *shape: int | str | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def stack(path: Path, layers: int, width: int = 128) -> Path:
    """`layers` square products with Relu: x [batch, width] -> y."""
    rng = np.random.default_rng(0)
    nodes, weights, source = [], {}, "x"
    for layer in range(layers):
        weights[f"w{layer}"] = rng.normal(0, (2 / width) ** 0.5, (width, width)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [source, f"w{layer}"], [f"m{layer}"]))
        source = "y" if layer == layers - 1 else f"r{layer}"
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [source]))
    model = graph_of(nodes, [floats("x", "batch", width)], [floats("y", "batch", width)], weights)
    onnx.save(model, path)
    return path
