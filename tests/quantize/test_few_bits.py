from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from pydantic import ValidationError

from lissom.batches import Batches
from lissom.diagnosis.rewrite import in_reals
from lissom.errors import RequestError
from lissom.graph.bit_planes import planes_in
from lissom.graph.edit import constant_of
from lissom.graph.optimize import Optimize, optimize
from lissom.measurement.footprint import parameters
from lissom.measurement.macs import multiply_accumulates
from lissom.measurement.records import Settings
from lissom.onnx_file import write_onnx
from lissom.quantize import clipped
from lissom.quantize.clipped import Levels
from lissom.quantize.static import Static, static
from lissom.report.inspect import inspect
from lissom.targets.fusion import read_back
from lissom.technique import Context
from tests import models
from tests.graph.small import bytes_of, checked, draw, node, opened, reference, run, tensor

PLANES = (2, 3, 5, 6, 7)


def quantized(given, feeds, **settings) -> ir.Model:
    model = given if isinstance(given, ir.Model) else ir.from_proto(given)
    model = optimize(model, Optimize(), Context())
    context = Context(True, calibration=Batches.of(feeds))
    return checked(static(model, Static(**settings), context))


def kernels(path) -> list[str]:
    return [each.kernel for each in read_back(path).fates if each.kind in ("integer", "codes")]


def wide(seed: int = 0) -> ir.Model:
    """Two convolutions and a product of some ten thousand weights."""
    nodes = [
        node("Conv", ["x", "c1"], "a", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "c2"], "b"),
        node("Relu", ["b"], "s"),
        node("GlobalAveragePool", ["s"], "g"),
        node("Flatten", ["g"], "f"),
        node("Gemm", ["f", "fc", "bias"], "y"),
    ]
    constants = {
        "c1": draw(32, 16, 3, 3, seed=seed, scale=0.1),
        "c2": draw(64, 32, 3, 3, seed=seed + 1, scale=0.1),
        "fc": draw(64, 11, seed=seed + 2, scale=0.2),
        "bias": draw(11, seed=seed + 3),
    }
    return opened(nodes, [tensor("x", shape=["n", 16, 8, 8])], ["y"], constants, opset=13)


def images(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": draw(count, 16, 8, 8, seed=seed)}


def noise(model, found, feeds) -> float:
    truth = run(model, feeds)[0]
    return float(
        10 * np.log10(np.square(run(found, feeds)[0] - truth).sum() / np.square(truth).sum())
    )


def test_every_width_has_its_bytes_and_the_same_kernels(tmp_path):
    feeds = images(16)
    sizes, graphs = {}, {}
    for bits in range(2, 9):
        path = tmp_path / f"{bits}.onnx"
        write_onnx(quantized(wide(), feeds, weight_bits=bits), path)
        sizes[bits], graphs[bits] = path.stat().st_size, kernels(path)
        macs = multiply_accumulates(path, feeds)
        assert graphs[bits] == graphs.get(2) and not (bits < 8 and read_back(path).saturating)
        assert macs == multiply_accumulates(tmp_path / "2.onnx", feeds)
        assert ir.load(path).opset_imports[""] == (21 if bits == 4 else 13)
    assert graphs[8].count("QLinearConv") == 2
    assert parameters(tmp_path / "3.onnx") == parameters(tmp_path / "8.onnx")
    count = 32 * 16 * 9 + 64 * 32 * 9 + 64 * 11
    for bits in PLANES:
        # Besides: three chains of nodes, with constants that they share.
        assert 0 < sizes[bits] - sizes[8] + count * (8 - bits) / 8 < 2000


@pytest.mark.parametrize("bits", PLANES)
def test_it_computes_what_the_codes_stand_for(bits):
    given, feeds = models.mlp(opset=21), models.feeds(models.mlp(), 16)
    model = quantized(given, feeds, weight_bits=bits)
    found = run(model, feeds)[0]
    np.testing.assert_allclose(found, run(model, feeds, optimize=False)[0], atol=0.02)
    np.testing.assert_allclose(found, reference(model, feeds)[0], atol=0.02)


def test_fewer_bits_make_more_errors_and_learned_ones_fewer():
    feeds, fresh = images(64), images(64, seed=50)
    nearest = [noise(wide(), quantized(wide(), feeds, weight_bits=b), fresh) for b in range(2, 9)]
    assert nearest == sorted(nearest, reverse=True) and nearest[0] < -4 and nearest[-1] < -30
    for bits in (2, 3, 6):
        model = quantized(wide(), feeds, weight_bits=bits, rounding="learned")
        assert noise(wide(), model, fresh) < nearest[bits - 2] - 2
        assert {planes.bits for planes in planes_in(model.graph)} == {bits}


def test_odd_codes_are_taken_where_they_are_nearer():
    gauss = np.random.default_rng(0).normal(size=(8, 4000)).astype(np.float32)
    codes, scales = clipped.fit(gauss, Levels(-3, 3, odd=True))
    error = np.square(gauss - codes * scales[:, None]).mean()
    # The best uniform quantizer of four levels for a normal variable (Max 1960, table II).
    assert error == pytest.approx(0.1188, abs=0.005)
    three = np.sign(gauss) * (np.abs(gauss) > 0.7)
    model = opened(
        [node("MatMul", ["x", "w"], "a"), node("Sigmoid", ["a"], "y")],
        [tensor("x", shape=["n", 8])],
        ["y"],
        {"w": three[:, :40].astype(np.float32)},
    )
    exact = quantized(model, {"x": draw(9, 8)}, weight_bits=2)
    (planes,) = planes_in(exact.graph)
    assert not planes.odd
    (planes,) = planes_in(quantized(models.mlp(), models.feeds(models.mlp(), 4), weight_bits=2,
                                    keep_float=["fc2.weight"]).graph)  # fmt: skip
    assert planes.odd


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("rounding", ["nearest", "learned"])
def test_a_dead_channel_stays_dead_on_a_grid_without_a_zero(bits, rounding):
    """Nor does it keep the other channels from odd codes."""
    weight = draw(16, 8, 3, 3, scale=20.0)
    weight[3] = 0.0
    weight[5] = 1e-40
    nodes = [node("Conv", ["x", "w", "b"], "a"), node("Sigmoid", ["a"], "y")]
    bias = draw(16, seed=1)
    model = opened(
        nodes, [tensor("x", shape=["n", 8, 8, 8])], ["y"], {"w": weight, "b": bias}, opset=13
    )
    feeds = {"x": draw(8, 8, 8, 8, scale=0.01)}
    found = quantized(model, feeds, weight_bits=bits, rounding=rounding)
    (planes,) = planes_in(found.graph)
    assert planes.odd
    wanted = 1 / (1 + np.exp(-bias[[3, 5]]))[:, None, None]
    np.testing.assert_allclose(run(found, feeds)[0][:, [3, 5]] - wanted, 0, atol=0.05)


def test_layers_may_have_widths_of_their_own():
    model = quantized(wide(), images(8), weight_bits=5, layer_bits={"c*": 3, "c2": 8})
    assert {p.value.name: p.bits for p in planes_in(model.graph)} == {
        "c1_quantized": 3, "fc_quantized": 5,
    }  # fmt: skip
    assert model.graph.initializers["c2_quantized"].dtype == ir.DataType.INT8
    same = quantized(wide(), images(8), weight_bits=3)
    for name in ("c1_quantized", "c1_scale"):
        one, other = (constant_of(each.graph.initializers[name]) for each in (model, same))
        np.testing.assert_array_equal(one, other)
    with pytest.raises(RequestError, match="'c9' matches no layer"):
        quantized(wide(), images(8), layer_bits={"c9": 4})
    with pytest.raises(ValidationError):
        Static(layer_bits={"c1": 1})


def test_one_weight_of_two_layers_has_the_wider_codes():
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("Relu", ["a"], "r"),
        node("MatMul", ["r", "w"], "b"),
        node("Sigmoid", ["b"], "y"),
    ]
    model = opened(nodes, [tensor("x", shape=["n", 16])], ["y"], {"w": draw(16, 16)})
    found = quantized(model, {"x": draw(9, 16)}, layer_bits={"a/MatMul": 3, "b/MatMul": 6})
    assert [planes.bits for planes in planes_in(found.graph)] == [6]


def test_diagnosis_reads_the_codes():
    model = quantized(wide(), images(8), weight_bits=3)
    planes = {each.value.name: each for each in planes_in(model.graph)}
    wanted = planes["c1_quantized"].codes()
    reals = in_reals(ir.from_proto(ir.to_proto(model)))
    assert sorted(each.bits for each in reals.weights.values() if each.bits < 8) == [3, 3, 3]
    stored = next(each for each in reals.weights.values() if each.codes.shape == wanted.shape)
    np.testing.assert_array_equal(stored.codes, wanted)


def test_the_same_bytes_twice():
    one, other = (
        quantized(wide(), images(24), weight_bits=2, rounding="learned") for _ in range(2)
    )
    assert bytes_of(one) == bytes_of(other)


def test_inspect_names_the_width_and_counts_the_weights(tmp_path):
    path = tmp_path / "3.onnx"
    write_onnx(quantized(wide(), images(8), weight_bits=3), path)
    found = inspect(path, Settings())
    layer = next(each for each in found.layers if each.name == "c2_quantized")
    assert layer.dtypes[0] == "int3" and layer.parameters == 64 * 32 * 9
    assert layer.op_type == "Conv" and layer.bytes == 64 * 32 * 9 * 3 // 8
