"""Layers that would add wrongly are found in every form in which a file may hold them."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from lissom.batches import Batches
from lissom.graph.optimize import Optimize, optimize
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.static import Static, static
from lissom.targets.saturation import saturating
from lissom.technique import Context
from tests import models
from tests.graph.small import node, opened, tensor
from tests.targets.test_pairing import EXPECTED, EXPERIMENTS


def loaded(model: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(model))


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "not constant" not in name])
def test_what_the_experiment_finds_is_found_in_the_graph(name: str) -> None:
    found = saturating(loaded(EXPERIMENTS[name].model))
    if not EXPECTED[name]:
        assert found == []
        return
    (layer,) = found
    repeated = EXPERIMENTS[name].group if "grouped" in name else 1
    assert layer.pairs == len(EXPECTED[name]) * repeated
    assert layer.of >= layer.pairs


@pytest.mark.parametrize("span", ["full", "pairs", "reduced"])
@pytest.mark.parametrize("name", ["mlp", "encoder", "depthwise"])
def test_lissom_s_own_results(name: str, span: str) -> None:
    proto = getattr(models, name)()
    batches = Batches.of([models.feeds(proto, 8)])
    context = Context(pair_sums=True, calibration=batches)
    for function, config in [
        (static, Static(weight_range=span)),
        (dynamic, Dynamic(weight_range=span)),
    ]:
        model = optimize(ir.from_proto(proto), Optimize(), context)
        found = saturating(function(model, config, context))
        assert bool(found) == (span == "full")
        for layer in found:
            assert dataclasses.asdict(layer)["layer"]


def test_weights_that_no_integer_kernel_reads_are_left_alone() -> None:
    weight = np.full((8, 4), 127, np.int8)
    nodes = [
        node("DequantizeLinear", ["w", "scale"], "real"),
        node("MatMul", ["x", "real"], "y"),
    ]
    x = tensor("x", shape=["n", 8])
    assert saturating(opened(nodes, [x], ["y"], {"w": weight, "scale": np.float32(1)})) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_unsigned_weights_are_added_in_32_bits(dtype: type) -> None:
    nodes = [node("MatMulInteger", ["a", "w"], "y")]
    a, y = tensor("a", TensorProto.UINT8, [2, 8]), tensor("y", TensorProto.INT32, [2, 4])
    model = opened(nodes, [a], [y], {"w": np.full((8, 4), 127, dtype)})
    assert bool(saturating(model)) == (dtype is np.int8)
