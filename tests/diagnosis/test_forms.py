"""Files of every form that quantizers write."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from lissom.diagnosis import replay
from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.verdict import with_verdicts
from lissom.onnx_file import write_onnx
from lissom.quantize.float16 import Float16, float16
from lissom.quantize.weight_only import WeightOnly, weight_only
from lissom.targets.optimized import optimized
from lissom.technique import Context
from tests import models
from tests.diagnosis.networks import Quantized
from tests.diagnosis.plant import Broken
from tests.models import Weights, build, saved, value


class Reader(CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def by_peer(case, path, **settings):
    logging.disable(logging.WARNING)
    quantize_static(
        case.original, path, Reader(case.batches), per_channel=True,
        weight_type=QuantType.QInt8, **settings,
    )  # fmt: skip
    logging.disable(logging.NOTSET)
    return diagnose(case.original, path, case.batches, pair_sums=False)


def layers(found, op_type):
    return {layer.name: layer for layer in found.layers if layer.op_type == op_type}


@pytest.mark.parametrize(("network", "kind"), [("residual", "Conv"), ("transformer", "MatMul")])
def test_integer_operators_are_read_as_pairs_are(network, kind, healthy, tmp_path):
    case = healthy[network, "full"]
    pairs = by_peer(case, tmp_path / "pairs.onnx", quant_format=QuantFormat.QDQ)
    operators = by_peer(case, tmp_path / "operators.onnx", quant_format=QuantFormat.QOperator)
    one, other = layers(pairs, kind), layers(operators, kind)
    assert one.keys() == other.keys() and len(one) >= 12
    for name, layer in other.items():
        assert layer.parts.rounding == pytest.approx(one[name].parts.rounding, rel=0.2, abs=1e-7)
        assert layer.accumulated > 0
        assert layer.weight_bits == one[name].weight_bits
    assert not pairs.unmatched and not operators.unmatched


def activated(kind, folder):
    """Three layers with an activation behind the first two: x -> logits."""
    weights, ends = Weights(0), {"Relu": [], "Clip": ["zero", "one"]}
    shapes = [(8, 3, 3, 3), (8, 8, 3, 3), (4, 8, 3, 3)]
    settings, size = {"pads": [1] * 4}, (3, 8, 8)
    if kind == "Gemm":
        shapes, settings, size = [(32, 16), (32, 32), (5, 32)], {"transB": 1}, (16,)
    end = "Clip" if kind == "Clip" else "Relu"
    if end == "Clip":
        weights.keep("zero", 0.0), weights.keep("one", 1.0)
    nodes, at = [], "x"
    for number, shape in enumerate(shapes):
        weight = weights.draw(f"w{number}", *shape, fan_in=int(np.prod(shape[1:])))
        name = f"a{number}" if number < 2 else "logits"
        inputs = [at, weight, weights.bias(f"b{number}", shape[0])]
        nodes.append(models.node("Gemm" if kind == "Gemm" else "Conv", inputs, name, **settings))
        if number < 2:
            nodes.append(models.node(end, [name, *ends[end]], f"r{number}"))
        at = f"r{number}"
    given = value("x", onnx.TensorProto.FLOAT, "batch", *size)
    output = (4, 8, 8) if kind != "Gemm" else (5,)
    wanted = value("logits", onnx.TensorProto.FLOAT, "batch", *output)
    path = saved(build(kind, nodes, [given], wanted, weights, 17), folder / "float.onnx")
    rng = np.random.default_rng(0)
    batches = [{"x": rng.normal(size=(16, *size)).astype(np.float32)} for _ in range(4)]
    return Quantized(path, path, batches)


@pytest.mark.parametrize("kind", ["Relu", "Clip", "Gemm"])
def test_an_activation_left_to_the_codes_of_integer_operators(kind, tmp_path):
    """ONNX Runtime drops it, and names the codes by what was before it."""
    case = activated(kind, tmp_path)
    pairs = by_peer(case, tmp_path / "pairs.onnx", quant_format=QuantFormat.QDQ)
    path = tmp_path / "operators.onnx"
    operators = by_peer(case, path, quant_format=QuantFormat.QOperator)
    assert not {"Relu", "Clip"} & {each.op_type for each in onnx.load(path).graph.node}
    (verdict,) = with_verdicts(operators).verdicts
    assert verdict.words.startswith("healthy") and not operators.unmatched
    assert operators.output_error == pytest.approx(pairs.output_error, rel=0.1)
    for one, other in zip(pairs.layers, operators.layers, strict=True):
        assert (one.name, one.output) == (other.name, other.output)
        assert other.added == pytest.approx(one.added, rel=0.1)
        assert other.accumulated == pytest.approx(one.accumulated, rel=0.1)
        assert other.share == pytest.approx(one.share, abs=0.05)
        assert other.parts.clipping < 1e-5


def test_ranges_found_while_running(healthy, tmp_path):
    case = healthy["transformer", "full"]
    quantize_dynamic(case.original, tmp_path / "dynamic.onnx", per_channel=True)
    found = diagnose(case.original, tmp_path / "dynamic.onnx", case.batches, pair_sums=False)
    products = [layer for layer in layers(found, "MatMul").values() if layer.weight_bits == 8]
    assert len(products) == 12
    for layer in products:
        assert layer.parts.rounding > 0 and layer.parts.clipping == 0
        assert layer.added == pytest.approx(layer.parts.rounding + layer.parts.weights, rel=0.2)


@pytest.mark.parametrize("inside", [False, True])
def test_weights_in_blocks(inside, healthy, tmp_path):
    case = healthy["transformer", "full"]
    settings = WeightOnly(int8_arithmetic=inside, embeddings=None)
    model = weight_only(ir.load(case.original), settings, Context())
    write_onnx(model, tmp_path / "blocks.onnx")
    found = diagnose(case.original, tmp_path / "blocks.onnx", case.batches)
    packed = [layer for layer in layers(found, "MatMul").values() if layer.weight_bits == 4]
    assert len(packed) == 12
    for layer in packed:
        assert 1e-4 < layer.parts.weights < 1e-2
        # A kernel that rounds its inputs inside does so to eight bits.
        assert (1e-7 < layer.parts.rounding < 1e-3) if inside else layer.parts.rounding < 1e-10


def test_weights_of_16_bits(healthy, tmp_path):
    case = healthy["transformer", "full"]
    model = float16(ir.load(case.original), Float16(least_elements=64), Context())
    write_onnx(model, tmp_path / "half.onnx")
    found = diagnose(case.original, tmp_path / "half.onnx", case.batches)
    assert 0 < found.output_error < 1e-5
    worst = max(found.layers, key=lambda layer: layer.share)
    assert worst.parts.weights > 0 and worst.parts.rounding == 0 and worst.grid is None


def test_a_file_that_the_runtime_optimized(healthy):
    case = healthy["residual", "full"]
    plain = diagnose(case.original, case.healthy, case.batches)
    with optimized(case.healthy) as file:
        fused = diagnose(case.original, file, case.batches)
    assert not fused.unmatched
    one, other = layers(plain, "Conv"), layers(fused, "Conv")
    for name, layer in other.items():
        assert layer.added == pytest.approx(one[name].added, rel=0.05, abs=1e-9)


def test_other_names_are_matched_by_value(healthy, tmp_path):
    """Every tensor but inputs and outputs called something else."""
    case = healthy["residual", "full"]
    model = onnx.load(case.healthy)
    kept = {value.name for value in [*model.graph.input, *model.graph.output]}
    names: dict[str, str] = {}
    for node in model.graph.node:
        node.name = ""
        for field in (node.input, node.output):
            for at, name in enumerate(field):
                if name and name not in kept:
                    field[at] = names.setdefault(name, f"t{len(names)}")
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    onnx.save(model, tmp_path / "renamed.onnx")
    plain = diagnose(case.original, case.healthy, case.batches)
    found = diagnose(case.original, tmp_path / "renamed.onnx", case.batches)
    assert {(each.name, each.added) for each in found.layers} == {
        (each.name, each.added) for each in plain.layers
    }


def test_a_few_layers_at_a_time_say_the_same(healthy, monkeypatch):
    case = healthy["residual", "full"]
    once = diagnose(case.original, case.healthy, case.batches)
    monkeypatch.setattr(replay, "HELD", 100_000)
    found = diagnose(case.original, case.healthy, case.batches)
    for one, other in zip(found.layers, once.layers, strict=True):
        assert one.name == other.name
        assert one.added == pytest.approx(other.added, rel=1e-3, abs=1e-10)
        assert one.share == pytest.approx(other.share, rel=1e-3, abs=1e-6)
        assert one.accumulated == pytest.approx(other.accumulated, rel=0.1, abs=1e-10)


def test_what_an_activation_lost_is_told_apart(healthy, tmp_path):
    """A grid that reaches below zero where codes had stood for the lower end of a Clip."""
    case = healthy["residual", "full"]
    broken = Broken(case.healthy)
    broken.lower("two.first.active")
    found = diagnose(case.original, broken.saved(tmp_path / "lost.onnx"), case.batches)
    layer = next(each for each in found.layers if each.name == "two.first.sum/Conv")
    assert layer.parts.activation > 0.1
    assert layer.parts.activation > 100 * layer.parts.weights


def test_channels_that_equalization_scaled_are_no_error(healthy, tmp_path):
    """The output of a LayerNormalization scaled, and the weights that read it unscaled."""
    case = healthy["transformer", "full"]
    model = onnx.load(case.original)
    factors = np.random.default_rng(0).uniform(0.3, 3.0, 32).astype(np.float32)
    changed = {
        "0.norm.scale": factors,
        "0.norm.shift": factors,
        "0.up.weight": 1 / factors[:, None],
    }
    for tensor in model.graph.initializer:
        if tensor.name in changed:
            array = (numpy_helper.to_array(tensor) * changed[tensor.name]).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    # The residual sum reads it too, and gets it back as it was.
    model.graph.initializer.append(numpy_helper.from_array(1 / factors, "back"))
    add = next(node for node in model.graph.node if node.output[0] == "0.last")
    at = list(model.graph.node).index(add)
    model.graph.node.insert(at, helper.make_node("Mul", ["0.norm", "back"], ["0.norm.back"]))
    add.input[list(add.input).index("0.norm")] = "0.norm.back"
    onnx.save(model, tmp_path / "scaled.onnx")
    found = diagnose(case.original, tmp_path / "scaled.onnx", case.batches)
    assert found.output_error < 1e-10
    assert all(layer.added < 1e-8 for layer in found.layers)
