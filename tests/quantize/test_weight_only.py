from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto
from pydantic import ValidationError

from lissom.errors import ModelError
from lissom.quantize.blocks import quantize_blocks
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.weight_only import WeightOnly, weight_only
from lissom.technique import Context
from tests import models
from tests.graph.small import bytes_of, draw, node, opened, ops, reference, run, tensor

IDS = tensor("ids", TensorProto.INT64, ["n"])


def packed(model, **settings) -> ir.Model:
    model = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model
    return weight_only(model, WeightOnly(**settings), Context())


def layer(depth: int, width: int, kind: str = "MatMul", **attributes) -> ir.Model:
    weight = draw(depth, width)
    constants = {"w": weight.T.copy() if attributes.get("transB") else weight}
    inputs = ["x", "w"]
    if kind == "Gemm":
        constants["b"] = draw(width, seed=8)
        inputs.append("b")
    x = tensor("x", shape=["n", depth])
    return opened([node(kind, inputs, "y", **attributes)], [x], ["y"], constants)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize(("depth", "width", "block"), [(64, 8, 16), (50, 7, 32), (9, 3, 16)])
def test_a_layer_multiplies_by_the_rounded_weight(bits, depth, width, block):
    model = packed(layer(depth, width), bits=bits, block=block, int8_arithmetic=False)
    assert ops(model) == ["MatMulNBits"]
    x = draw(5, depth, seed=1)
    rounded = quantize_blocks(draw(depth, width).T, bits, block).dequantize().T
    np.testing.assert_allclose(run(model, {"x": x})[0], x @ rounded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_int8_arithmetic_stays_near_the_rounded_weight(bits):
    model = packed(layer(64, 32), bits=bits, block=32)
    x = draw(5, 64, seed=1)
    truth = x @ quantize_blocks(draw(64, 32).T, bits, 32).dequantize().T
    assert np.abs(run(model, {"x": x})[0] - truth).max() < 0.02 * np.abs(truth).max()


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_with_bias(transposed):
    model = packed(layer(32, 6, "Gemm", transB=transposed), bits=4, int8_arithmetic=False)
    x = draw(5, 32, seed=1)
    rounded = quantize_blocks(draw(32, 6).T, 4, 32).dequantize().T
    truth = x @ rounded + draw(6, seed=8)
    np.testing.assert_allclose(run(model, {"x": x})[0], truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(16,), (3, 16), (2, 3, 16), (2, 1, 3, 16)])
def test_inputs_of_any_rank(shape):
    product = node("MatMul", ["x", "w"], "y")
    model = opened([product], [tensor("x", shape=shape)], ["y"], {"w": draw(16, 5)})
    model = packed(model, bits=8, block=16, int8_arithmetic=False)
    x = draw(*shape, seed=1)
    found = run(model, {"x": x})[0]
    assert found.shape == (*shape[:-1], 5)
    np.testing.assert_allclose(found, x @ draw(16, 5), atol=0.05)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("width", [64, 50, 33, 7])
def test_an_embedding_of_any_width(bits, width):
    table = draw(20, width)
    gather = node("Gather", ["table", "ids"], "y")
    model = packed(opened([gather], [IDS], ["y"], {"table": table}), embeddings=bits, block=16)
    assert ops(model) == ["GatherBlockQuantized"]
    ids = np.array([0, 19, 3, -1, -20])
    # Half a byte cannot end a row, so odd widths take a byte per weight.
    used = 8 if width % 2 else bits
    truth = quantize_blocks(table, used, 16).dequantize()[ids]
    found = run(model, {"ids": ids})[0]
    assert found.shape == (5, width)
    np.testing.assert_allclose(found, truth, rtol=1e-5)


def test_a_table_that_is_looked_up_and_multiplied_by_in_the_same_layout():
    nodes = [
        node("Gather", ["table", "ids"], "found"),
        node("MatMul", ["x", "table"], "product"),
        node("Add", ["found", "product"], "y"),
    ]
    table = draw(32, 16)
    inputs = [IDS, tensor("x", shape=["n", 32])]
    model = opened(nodes, inputs, ["y"], {"table": table})
    model = packed(model, bits=8, embeddings=8, block=16, int8_arithmetic=False)
    ids, x = np.arange(4), draw(4, 32, seed=1)
    found = run(model, {"ids": ids, "x": x})[0]
    np.testing.assert_allclose(found, table[ids] + x @ table, atol=0.1)


def test_shared_weights_are_packed_once():
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("MatMul", ["a", "w"], "y"),
    ]
    x = tensor("x", shape=["n", 16])
    model = packed(opened(nodes, [x], ["y"], {"w": draw(16, 16)}), block=16)
    assert ops(model) == ["MatMulNBits", "MatMulNBits"]
    assert len(model.graph.initializers) == 3


def test_a_file_of_four_bits_is_as_small_as_promised():
    model = packed(layer(256, 256), bits=4, block=32)
    stored = sum(v.const_value.nbytes for v in model.graph.initializers.values())
    # Half a byte per weight; four bytes and a half per block of 32.
    assert stored == 256 * 256 // 2 + 256 * 8 * 4 + 256 * 4


def test_what_is_left_float():
    assert ops(packed(models.mlp(), keep_float=["fc1.weight"])).count("MatMul") == 1
    tables = packed(models.two_input(), layers=False)
    assert ops(tables).count("MatMul") == 2
    assert "GatherBlockQuantized" in ops(tables)
    assert "Gather" in ops(packed(models.two_input(), embeddings=None))
    for model, settings in [(models.mlp(), {"layers": False}), (layer(4, 0), {})]:
        with pytest.raises(ModelError, match="nothing to quantize"):
            packed(model, **settings)


@pytest.mark.parametrize("block", [0, 8, 24, -16])
def test_a_block_is_a_power_of_two_of_at_least_16(block):
    with pytest.raises(ValidationError, match="power of two"):
        WeightOnly(block=block)


@pytest.mark.parametrize("block", [64, 128, 256])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_larger_blocks_run_too(bits, block):
    model = packed(layer(300, 40), bits=bits, block=block, int8_arithmetic=False)
    x = draw(3, 300, seed=1)
    rounded = quantize_blocks(draw(300, 40).T, bits, block).dequantize().T
    np.testing.assert_allclose(run(model, {"x": x})[0], x @ rounded, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["mlp", "two_input", "encoder"])
def test_whole_models_at_eight_bits_keep_their_answers(name):
    proto = getattr(models, name)()
    feeds = models.feeds(proto, 8)
    (truth,) = reference(proto, feeds)
    model = packed(proto, bits=8, embeddings=8)
    assert bytes_of(model) == bytes_of(packed(proto, bits=8, embeddings=8))
    assert np.abs(run(model, feeds)[0] - truth).max() < 0.04 * np.abs(truth).max()


def test_dynamic_quantization_completes_packed_tables():
    proto = models.two_input()
    model = packed(proto, layers=False)
    model = dynamic(model, Dynamic(), Context(pair_sums=True))
    assert "GatherBlockQuantized" in ops(model)
    assert ops(model).count("MatMulInteger") == 2
    feeds = models.feeds(proto, 8)
    (truth,) = reference(proto, feeds)
    assert np.abs(run(model, feeds)[0] - truth).max() < 0.15 * np.abs(truth).max()
