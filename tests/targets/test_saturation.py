"""Layers that would add wrongly are found in every form in which a file may hold them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto

from lissom.batches import Batches
from lissom.graph.optimize import Optimize, optimize
from lissom.onnx_file import write_onnx
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.static import Static, static
from lissom.targets.saturation import Saturating, saturating, where_not
from lissom.technique import Context
from tests import models
from tests.graph.small import node, opened, tensor
from tests.targets.test_pairing import EXPECTED, EXPERIMENTS


@pytest.fixture
def found(tmp_path: Path) -> Callable[[ir.Model | bytes], tuple[Saturating, ...]]:
    """What saturates in a model that is stored as a file."""

    def look(model: ir.Model | bytes) -> tuple[Saturating, ...]:
        path = tmp_path / "model.onnx"
        if isinstance(model, bytes):
            path.write_bytes(model)
        else:
            write_onnx(model, path)
        return saturating(path)

    return look


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "not constant" not in name])
def test_what_the_experiment_finds_is_found_in_the_graph(name: str, found: Any) -> None:
    layers = found(EXPERIMENTS[name].model)
    if not EXPECTED[name]:
        assert layers == ()
        return
    (layer,) = layers
    experiment = EXPERIMENTS[name]
    repeated = experiment.group if "grouped" in name else 1
    assert layer.pairs == sum(pair in EXPECTED[name] for pair in experiment.pairs) * repeated
    assert layer.of >= layer.pairs


@pytest.mark.parametrize("span", ["full", "pairs", "reduced"])
@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("name", ["mlp", "encoder", "depthwise"])
def test_lissom_s_own_results(name: str, activations: str, span: str, found: Any) -> None:
    proto = getattr(models, name)()
    batches = Batches.of([models.feeds(proto, 8)])
    context = Context(pair_sums=True, calibration=batches)
    for function, config in [
        (static, Static(weight_range=span, activations=activations)),
        (dynamic, Dynamic(weight_range=span)),
    ]:
        model = optimize(ir.from_proto(proto), Optimize(), context)
        layers = found(function(model, config, context))
        assert bool(layers) == (span == "full")
        assert all(layer.layer for layer in layers)


def test_weights_that_no_integer_kernel_reads_are_left_alone(found: Any) -> None:
    weight = np.full((8, 4), 127, np.int8)
    nodes = [
        node("DequantizeLinear", ["w", "scale"], "real"),
        node("MatMul", ["x", "real"], "y"),
    ]
    x = tensor("x", shape=["n", 8])
    assert found(opened(nodes, [x], ["y"], {"w": weight, "scale": np.float32(1)})) == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_unsigned_weights_are_added_in_32_bits(dtype: type, found: Any) -> None:
    nodes = [node("MatMulInteger", ["a", "w"], "y")]
    a, y = tensor("a", TensorProto.UINT8, [2, 8]), tensor("y", TensorProto.INT32, [2, 4])
    model = opened(nodes, [a], [y], {"w": np.full((8, 4), 127, dtype)})
    assert bool(found(model)) == (dtype is np.int8)


CONSTANTS = {"s": np.float32(1), "z": np.uint8(0), "ws": np.float32(1), "wz": np.int8(0)}
INPUT = [
    node("QuantizeLinear", ["x", "s", "z"], "xq"),
    node("DequantizeLinear", ["xq", "s", "z"], "xd"),
]


def test_a_float_weight_that_is_quantized_while_loading(found: Any) -> None:
    """As quantization-aware training leaves it."""
    nodes = [
        *INPUT,
        node("QuantizeLinear", ["w", "ws", "wz"], "wq"),
        node("DequantizeLinear", ["wq", "ws", "wz"], "wd"),
        node("MatMul", ["xd", "wd"], "y"),
    ]
    weight = np.full((8, 4), 127, np.float32)
    (layer,) = found(opened(nodes, [tensor("x", shape=[2, 8])], ["y"], CONSTANTS | {"w": weight}))
    assert (layer.pairs, layer.of) == (16, 16)


def test_codes_that_are_moved_before_they_are_multiplied(found: Any) -> None:
    """A transposed weight, as some tools store it."""
    nodes = [
        *INPUT,
        node("DequantizeLinear", ["w", "ws", "wz"], "wd"),
        node("Transpose", ["wd"], "wt", perm=[1, 0]),
        node("MatMul", ["xd", "wt"], "y"),
    ]
    weight = np.zeros((4, 8), np.int8)
    weight[0, :2] = 127
    weight[1, 1:3] = 127
    x = tensor("x", shape=[2, 8])
    (layer,) = found(opened(nodes, [x], ["y"], CONSTANTS | {"w": weight}))
    assert (layer.pairs, layer.of) == (1, 16)


@pytest.mark.parametrize("place", ["W", "R"])
def test_both_weights_of_a_recurrence(place: str, found: Any) -> None:
    weights = {"W": np.zeros((1, 8, 16), np.int8), "R": np.zeros((1, 4, 16), np.int8)}
    weights[place][0, :2, 3] = 127
    inputs = ["x", "W", "R", "", "", "", "", "", "s", "zero", "s", "zero"]
    lstm = node("DynamicQuantizeLSTM", inputs, "y", domain="com.microsoft", hidden_size=4)
    constants = weights | {"s": np.ones(1, np.float32), "zero": np.zeros(1, np.int8)}
    model = opened([lstm], [tensor("x", shape=[3, 2, 8])], ["y"], constants, check=False)
    model.graph.opset_imports["com.microsoft"] = 1
    (layer,) = found(model)
    assert (layer.pairs, layer.of) == (1, 16 * 4 + 16 * 2)


def test_words_name_the_worst_layers_first() -> None:
    layers = [Saturating(f"layer{count}", "QGemm", count, 99) for count in range(1, 7)]
    assert where_not(layers[:1]) == "1 layer would saturate on an x86 CPU without VNNI: layer1"
    assert where_not(layers).endswith("VNNI: layer6, layer5, layer4, layer3 and 2 more")
