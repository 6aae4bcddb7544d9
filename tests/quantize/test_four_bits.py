from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.batches import Batches
from lissom.errors import ModelError
from lissom.graph import opset
from lissom.graph.edit import constant_of
from lissom.graph.inventory import inventory
from lissom.graph.opset import with_four_bits
from lissom.graph.optimize import Optimize, optimize
from lissom.graph.quantized import quantized as codes_in
from lissom.measurement.footprint import parameters
from lissom.onnx_file import write_onnx
from lissom.quantize import clipped
from lissom.quantize.static import Static, static
from lissom.targets.fusion import read_back
from lissom.technique import Context
from tests import models
from tests.graph.small import checked, draw, node, proto, reference, run, tensor


def quantized(given, feeds, **settings) -> ir.Model:
    model = optimize(ir.from_proto(given), Optimize(), Context())
    context = Context(True, calibration=Batches.of(feeds))
    return checked(static(model, Static(**settings), context))


def kernels(path) -> list[str]:
    return [each.kernel for each in read_back(path).fates if each.kind in ("integer", "codes")]


@pytest.mark.parametrize(
    ("name", "opset_version"), [("depthwise", 13), ("depthwise", 17), ("mlp", 21)]
)
def test_the_file_has_four_bits_and_the_kernels_are_the_same(name, opset_version, tmp_path):
    proto = getattr(models, name)(opset=opset_version)
    feeds = models.feeds(proto, 16)
    paths = {bits: tmp_path / f"{bits}.onnx" for bits in (4, 8)}
    for bits, path in paths.items():
        write_onnx(quantized(proto, feeds, weight_bits=bits), path)
    assert kernels(paths[4]) == kernels(paths[8])
    assert {"QLinearConv", "QGemm"} & set(kernels(paths[4]))
    assert not read_back(paths[4]).saturating
    four, eight = (ir.load(path) for path in paths.values())
    assert four.opset_imports[""] == 21 and four.ir_version == 10
    assert eight.opset_imports[""] == opset_version
    weights = [each.const_value for each in four.graph.initializers.values()]
    packed = sum(each.nbytes for each in weights if each.dtype == ir.DataType.INT4)
    found = {each.op_type: each.bytes for each in codes_in(inventory(four))}
    wide = {each.op_type: each.bytes for each in codes_in(inventory(eight))}
    assert packed > 0 and set(found) == set(wide)
    assert sum(wide.values()) - sum(found.values()) == packed
    assert parameters(paths[4]) == parameters(paths[8])


def test_it_computes_what_the_codes_stand_for():
    proto = models.mlp(opset=21)
    feeds = models.feeds(proto, 16)
    model = quantized(proto, feeds, weight_bits=4)
    truth = reference(proto, feeds)[0]
    found = run(model, feeds)[0]
    # ONNX Runtime fuses, and the definition of the operators does not.
    np.testing.assert_allclose(found, run(model, feeds, optimize=False)[0], atol=0.02)
    assert 0.005 < np.square(found - truth).mean() / np.square(truth).mean() < 0.03
    codes = model.graph.initializers["fc1.weight_quantized"].const_value.numpy().astype(int)
    assert codes.min() >= -8 and codes.max() <= 7 and np.unique(codes).size > 10


def test_scales_are_those_of_least_squared_error():
    weights = draw(50, 200)
    weights[3] *= 1e-30
    weights[4] = 0
    codes, scales = clipped.fit(weights)
    errors = np.square(weights - codes * scales[:, None]).sum(axis=1)
    for factor in np.linspace(0.5, 2.0, 61):
        tried = (scales * factor).astype(np.float32)
        other = np.square(weights - clipped.codes_at(weights, tried) * tried[:, None]).sum(axis=1)
        assert (errors <= 1.02 * other + 1e-40).all()
    full = np.abs(weights).max(axis=1) / 7
    assert (scales[:3] < 0.9 * full[:3]).all()
    assert scales[4] == 1.0 and not codes[4].any()


def test_a_weight_below_every_scale_is_zero():
    codes, scales = clipped.fit(np.full((1, 4), 1e-40, np.float32))
    assert not codes.any() and scales == 1.0


def test_a_graph_of_an_old_operator_set_is_converted_with_its_weights():
    proto = models.mlp(hidden=200, opset=13)
    feeds = models.feeds(proto, 4)
    before = run(proto, feeds)[0]
    given = ir.from_proto(proto)
    weight = constant_of(given.graph.initializers["fc1.weight"])
    model = checked(with_four_bits(given))
    np.testing.assert_array_equal(constant_of(model.graph.initializers["fc1.weight"]), weight)
    assert [value.name for value in model.graph.inputs] == ["input"]
    np.testing.assert_allclose(run(model, feeds)[0], before, rtol=1e-6)


def test_what_became_an_input_in_the_newer_set_still_fuses(tmp_path):
    # The axes of ReduceMean are an attribute here.
    nodes = [
        node("Conv", ["x", "w"], "a"),
        node("Relu", ["a"], "r"),
        node("ReduceMean", ["r"], "m", axes=[2, 3], keepdims=0),
        node("Gemm", ["m", "v"], "y"),
    ]
    constants = {"w": draw(8, 4, 3, 3, scale=0.3), "v": draw(8, 5)}
    small = proto(nodes, [tensor("x", shape=["n", 4, 8, 8])], ["y"], constants, opset=17)
    path = tmp_path / "4.onnx"
    write_onnx(quantized(small, {"x": draw(8, 4, 8, 8)}, weight_bits=4), path)
    assert "QLinearGlobalAveragePool" in kernels(path)


def test_what_cannot_be_converted_is_refused(monkeypatch):
    def refuse(*_):
        raise RuntimeError("no adapter for Upsample")

    monkeypatch.setattr(opset.version_converter, "convert_version", refuse)
    with pytest.raises(ModelError, match="no adapter for Upsample") as refused:
        with_four_bits(ir.from_proto(models.mlp(opset=17)))
    assert "8 bits" in str(refused.value)
