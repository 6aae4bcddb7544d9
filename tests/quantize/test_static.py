from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto

from lissom.batches import Batches
from lissom.errors import ModelError, RequestError
from lissom.graph.edit import constant_of
from lissom.graph.optimize import Optimize, optimize
from lissom.quantize.affine import affine_of_range, symmetric_channels
from lissom.quantize.static import Static, static
from lissom.sessions import session_options
from lissom.technique import Context
from tests import models
from tests.graph.small import (
    FLAG,
    branching,
    bytes_of,
    checked,
    draw,
    node,
    opened,
    ops,
    reference,
    run,
    tensor,
)

IMAGE = [2, 4, 8, 8]
X = tensor("x", shape=["n", *IMAGE[1:]])
SQUARE = {"w": draw(4, 4, 3, 3, scale=0.2), "v": draw(4, 4, 3, 3, seed=1, scale=0.2)}
SAME = {"pads": [1, 1, 1, 1]}


def quantized(model, feeds, *, pair_sums: bool = True, **settings) -> ir.Model:
    model = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model
    batches = Batches.of(feeds if isinstance(feeds, list) else [feeds])
    return checked(static(model, Static(**settings), Context(pair_sums, calibration=batches)))


def as_run(model: ir.Model, tmp_path) -> list[str]:
    """Operator types of the graph that ONNX Runtime really runs."""
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(bytes_of(model), options, providers=["CPUExecutionProvider"])
    return [each.op_type for each in onnx.load(tmp_path / "optimized.onnx").graph.node]


def near(found: np.ndarray, truth: np.ndarray, share: float = 0.05) -> bool:
    return bool(np.abs(found - truth).max() <= share * np.abs(truth).max())


def conv(source: str, target: str, weight: str = "w", *bias: str):
    return node("Conv", [source, weight, *bias], target, **SAME)


def tail(source: str):
    return node("Sigmoid", [source], "y")


@pytest.mark.parametrize("observer", ["auto", "minmax", "percentile", "mse", "entropy"])
def test_a_depthwise_network_runs_in_integers_from_end_to_end(observer, tmp_path):
    proto = models.depthwise()
    feeds = models.feeds(proto, 16)
    model = optimize(ir.from_proto(proto), Optimize(), Context())
    model = quantized(model, feeds, observer=observer)
    real = as_run(model, tmp_path)
    # The stem, of three channels, is faster in float.
    assert real.count("Conv") == 1
    assert real.count("QLinearConv") == 2
    assert not {"Clip", "Relu", "FusedConv", "Gemm"} & set(real)
    # Entropy clips far more than the others do.
    share = 0.2 if observer == "entropy" else 0.05
    assert near(run(model, feeds)[0], reference(proto, feeds)[0], share)


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_opsets(opset, tmp_path):
    proto = models.depthwise(opset=opset)
    feeds = models.feeds(proto, 8)
    truth = run(proto, feeds)[0]
    model = quantized(optimize(ir.from_proto(proto), Optimize(), Context()), feeds)
    assert as_run(model, tmp_path).count("QLinearConv") == 2
    assert near(run(model, feeds)[0], truth)


def test_one_layer_against_plain_numpy():
    weight, bias = draw(16, 5), draw(5, seed=2)
    x = draw(50, 16, seed=1)
    gemm = node("Gemm", ["x", "w", "b"], "y")
    inputs = [tensor("x", shape=["n", 16])]
    model = opened([gemm], inputs, ["y"], {"w": weight, "b": bias})
    model = quantized(model, {"x": x}, observer="minmax", weight_range="reduced")
    assert model.graph.outputs[0].producer().op_type == "Gemm"
    grid = affine_of_range(float(x.min()), float(x.max()))
    codes = np.clip(np.rint(x / grid.scale) + int(grid.zero_point), 0, 255) - int(grid.zero_point)
    weights, scales = symmetric_channels(weight, 1, 7)
    product = scales.astype(np.float64) * float(grid.scale)
    truth = (codes @ weights.astype(np.float64) + np.rint(bias / product)) * product
    np.testing.assert_allclose(run(model, {"x": x})[0], truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "two_input", "encoder"])
def test_whole_models_keep_their_answers(name):
    proto = getattr(models, name)()
    feeds = models.feeds(proto, 16)
    optimized = optimize(ir.from_proto(proto), Optimize(), Context())
    model = quantized(optimized, feeds)
    found = run(model, feeds)[0]
    assert near(found, reference(proto, feeds)[0], 0.1)
    # Fused or not, it computes the same to a step here and there.
    assert near(run(model, feeds, optimize=False)[0], found, 0.03)


def test_the_same_bytes_twice():
    proto = models.depthwise()
    feeds = [models.feeds(proto, 4, seed=seed) for seed in range(3)]
    assert bytes_of(quantized(proto, feeds)) == bytes_of(quantized(proto, feeds))


def test_ranges_come_from_all_batches_and_percentiles_leave_outliers_out():
    proto = models.mlp()
    common = np.linspace(-1, 1, 16 * 4096, dtype=np.float32).reshape(-1, 16)
    batches = [{"input": common}, {"input": np.full((1, 16), 100.0, np.float32)}]
    scales = {}
    for observer in ("minmax", "percentile"):
        model = quantized(proto, batches, observer=observer, percent=99.9)
        scales[observer] = float(constant_of(model.graph.initializers["input_scale"]))
    assert scales["minmax"] == pytest.approx(101 / 255, rel=1e-5)
    # Bins of 128/2048 are as wide as the histogram gets here.
    assert scales["percentile"] == pytest.approx(2 / 255, abs=2 * 0.0625 / 255)


def test_a_bias_that_would_overflow_widens_its_channel(tmp_path):
    weight = SQUARE["w"].copy()
    weight[0] *= 1e-10
    bias = np.array([5.0, 1.0, 0.0, -1.0], np.float32)
    nodes = [conv("x", "a", "w", "b"), tail("a")]
    model = opened(nodes, [X], ["y"], {"w": weight, "b": bias})
    x = draw(*IMAGE, seed=4)
    truth = reference(model, {"x": x})[0]
    model = quantized(model, {"x": x})
    assert "QLinearConv" in as_run(model, tmp_path)
    assert near(run(model, {"x": x})[0], truth, 0.02)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), ()])
def test_every_bias_that_is_one_number_per_channel_becomes_integers(shape):
    constants = {"w": draw(16, 5), "b": np.asarray(draw(*shape, seed=2))}
    gemm = node("Gemm", ["x", "w", "b"], "y")
    x = draw(50, 16, seed=1)
    model = opened([gemm], [tensor("x", shape=["n", 16])], ["y"], constants)
    model = quantized(model, {"x": x})
    assert np.dtype(np.int32) in {constant_of(v).dtype for v in model.graph.initializers.values()}
    assert near(run(model, {"x": x})[0], x @ constants["w"] + constants["b"])


def test_a_symmetric_weight_that_two_layers_read_in_two_ways():
    """Its scales along rows and columns are the same numbers, its codes are not."""
    half = draw(16, 16) * np.exp(2 * draw(16, 1, seed=3))
    constants = {"w": (half + half.T) / 2}
    nodes = [node("MatMul", ["x", "w"], "a"), node("Gemm", ["x", "w"], "b", transB=1)]
    x = draw(50, 16, seed=1)
    model = opened(nodes, [tensor("x", shape=["n", 16])], ["a", "b"], constants)
    for found in run(quantized(model, {"x": x}), {"x": x}):
        assert near(found, x @ constants["w"])


def test_a_bias_per_row_stays_float():
    constants = {"w": draw(16, 5), "b": draw(50, 1, seed=2)}
    gemm = node("Gemm", ["x", "w", "b"], "y")
    x = draw(50, 16, seed=1)
    model = opened([gemm], [tensor("x", shape=[50, 16])], ["y"], constants)
    model = quantized(model, {"x": x})
    assert "b" in model.graph.initializers
    assert near(run(model, {"x": x})[0], x @ constants["w"] + constants["b"])


def test_two_layers_that_share_weight_and_bias_each_get_their_bias(tmp_path):
    """The bias is stored in steps of input scale times weight scale: the inputs differ."""
    nodes = [
        conv("x", "a", "w", "b"),
        node("Relu", ["a"], "r"),
        conv("r", "c", "w", "b"),
        tail("c"),
    ]
    constants = {"w": SQUARE["w"], "b": draw(4, seed=3)}
    model = opened(nodes, [X], ["y"], constants)
    x = draw(*IMAGE, seed=4) * 3
    truth = reference(model, {"x": x})[0]
    model = quantized(model, {"x": x})
    stored = [constant_of(v) for v in model.graph.initializers.values()]
    assert len([each for each in stored if each.dtype == np.int32 and each.any()]) == 2
    weights = [v for v in model.graph.initializers.values() if constant_of(v).size == 144]
    assert len(weights) == 1
    assert as_run(model, tmp_path).count("QLinearConv") == 2
    assert near(run(model, {"x": x})[0], truth)


def test_what_the_graph_returns_is_what_the_float_operators_give():
    """The Relu in front of a returned tensor must stay though its reader would not miss it."""
    nodes = [
        conv("x", "a"),
        node("Relu", ["a"], "features"),
        conv("features", "b", "v"),
        tail("b"),
    ]
    shaped = tensor("features", shape=["n", *IMAGE[1:]])
    model = opened(nodes, [X], ["y", shaped], SQUARE)
    x = draw(*IMAGE, seed=4)
    y, features = reference(model, {"x": x})
    model = quantized(model, {"x": x})
    found, returned = run(model, {"x": x})
    assert [out.name for out in model.graph.outputs] == ["y", "features"]
    assert returned.min() >= 0
    np.testing.assert_allclose(returned, features, rtol=1e-4, atol=1e-5)
    assert near(found, y)


def test_a_last_convolution_stays_float_and_is_exact_on_what_it_reads(tmp_path):
    nodes = [conv("x", "a"), node("Relu", ["a"], "r"), conv("r", "y", "v")]
    model = opened(nodes, [X], ["y"], SQUARE)
    x = draw(*IMAGE, seed=4)
    truth = reference(model, {"x": x})[0]
    model = quantized(model, {"x": x})
    assert model.graph.outputs[0].dtype == ir.DataType.FLOAT
    real = as_run(model, tmp_path)
    assert real.count("QLinearConv") == 1
    assert near(run(model, {"x": x})[0], truth)


def test_branches_read_the_quantized_tensor_too(tmp_path):
    """Without the pair they would read the convolution before its Relu."""
    body = branching([node("Neg", ["r"], "y_then")], [node("MatMul", ["r", "m"], "y_else")], "y")
    nodes = [conv("x", "a"), node("Relu", ["a"], "r"), body]
    constants = {"w": SQUARE["w"], "m": draw(8, 8, seed=6)}
    shaped = tensor("y", shape=["n", *IMAGE[1:]])
    model = opened(nodes, [X, FLAG], [shaped], constants)
    x = draw(*IMAGE, seed=4)
    feeds = [{"x": x, "flag": np.array(flag)} for flag in (True, False)]
    truths = [reference(model, each)[0] for each in feeds]
    model = quantized(model, feeds)
    assert "QLinearConv" in as_run(model, tmp_path)
    for each, truth in zip(feeds, truths, strict=True):
        assert near(run(model, each)[0], truth)


@pytest.mark.parametrize(
    ("bounds", "stays"),
    [
        ((0.0, 6.0), False),
        ((0.0,), False),
        ((0.0, None), False),
        ((0.0, 0.5), False),
        ((-1.0, 1.0), True),
        ((None, 1.0), True),
    ],
)
def test_clips_that_saturation_does_anyway_are_dropped(bounds, stays, tmp_path):
    inputs = ["a", *("" if b is None else f"c{i}" for i, b in enumerate(bounds))]
    bounds_ = {f"c{i}": np.float32(b) for i, b in enumerate(bounds) if b is not None}
    nodes = [conv("x", "a"), node("Clip", inputs, "r"), conv("r", "b", "v"), tail("b")]
    model = opened(nodes, [X], ["y"], SQUARE | bounds_)
    x = draw(*IMAGE, seed=4) * 5
    truth = reference(model, {"x": x})[0]
    model = quantized(model, {"x": x})
    assert ("Clip" in ops(model)) == stays
    real = as_run(model, tmp_path)
    assert real.count("QLinearConv") == 2
    assert near(run(model, {"x": x})[0], truth)


def test_a_relu_with_two_readers(tmp_path):
    nodes = [
        conv("x", "a"),
        node("Relu", ["a"], "r"),
        conv("r", "b", "v"),
        node("Add", ["b", "r"], "sum"),
        node("Relu", ["sum"], "out"),
        node("GlobalAveragePool", ["out"], "pool"),
        node("Flatten", ["pool"], "flat"),
        node("Gemm", ["flat", "m"], "y"),
    ]
    model = opened(nodes, [X], ["y"], SQUARE | {"m": draw(4, 3, seed=5)})
    x = draw(*IMAGE, seed=4)
    truth = reference(model, {"x": x})[0]
    model = quantized(model, {"x": x})
    real = as_run(model, tmp_path)
    assert {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"} <= set(real)
    assert not {"Conv", "Add", "Relu", "Gemm", "GlobalAveragePool"} & set(real)
    assert near(run(model, {"x": x})[0], truth, 0.08)


def test_a_concatenation_of_quantized_tensors(tmp_path):
    nodes = [
        conv("x", "a"),
        node("Relu", ["a"], "r"),
        conv("x", "b", "v"),
        node("Concat", ["r", "b"], "both", axis=1),
        node("Conv", ["both", "u"], "c"),
        tail("c"),
    ]
    model = opened(nodes, [X], ["y"], SQUARE | {"u": draw(4, 8, 1, 1)})
    x = draw(*IMAGE, seed=4)
    truth = reference(model, {"x": x})[0]
    model = quantized(model, {"x": x})
    real = as_run(model, tmp_path)
    assert real.count("QLinearConv") == 3
    assert "QLinearConcat" in real
    assert near(run(model, {"x": x})[0], truth)


@pytest.mark.parametrize(
    ("weight", "shape", "attributes"),
    [
        ((6, 4, 3), (2, 4, 9), {"auto_pad": "SAME_UPPER"}),
        ((6, 2, 3, 3), (2, 4, 8, 8), {"group": 2, "strides": [2, 2]}),
        ((6, 4, 3, 3), (2, 4, 8, 8), {"auto_pad": "SAME_LOWER", "dilations": [1, 1]}),
        ((6, 4, 2, 2, 2), (1, 4, 4, 4, 4), {}),
    ],
)
def test_convolutions_of_every_kind(weight, shape, attributes, tmp_path):
    layer = node("Conv", ["x", "w"], "a", **attributes)
    gemm = [node("Flatten", ["a"], "flat"), node("MatMul", ["flat", "m"], "y")]
    x = draw(*shape, seed=4)
    inputs = [tensor("x", shape=list(shape))]
    (a,) = reference(opened([layer], inputs, ["a"], {"w": draw(*weight)}), {"x": x})
    constants = {"w": draw(*weight), "m": draw(a[0].size, 3, seed=5)}
    model = opened([layer, *gemm], inputs, ["y"], constants)
    truth = reference(model, {"x": x})[0]
    model = quantized(model, {"x": x})
    assert ("QLinearConv" in as_run(model, tmp_path)) == (len(weight) < 5)
    assert near(run(model, {"x": x})[0], truth)


def test_constant_inputs_and_dead_activations():
    nodes = [
        node("MatMul", ["c", "w"], "fixed"),
        node("MatMul", ["x", "w"], "a"),
        node("Relu", ["a"], "r"),
        node("MatMul", ["r", "w"], "b"),
        node("Add", ["b", "fixed"], "y"),
    ]
    weight = -np.abs(draw(8, 8))
    model = opened(nodes, [tensor("x", shape=["n", 8])], ["y"], {"c": draw(1, 8), "w": weight})
    x = np.abs(draw(4, 8, seed=1))
    truth = reference(model, {"x": x})[0]
    model = quantized(model, {"x": x})
    assert near(run(model, {"x": x})[0], truth)


def test_overridable_inputs_of_layers_are_left_alone():
    nodes = [
        node("Relu", ["x"], "r"),
        node("MatMul", ["default", "w"], "a"),
        node("MatMul", ["r", "w"], "b"),
        node("Add", ["a", "b"], "y"),
    ]
    inputs = [tensor("x", shape=["n", 8]), tensor("default", shape=[1, 8])]
    model = opened(nodes, inputs, ["y"], {"default": draw(1, 8), "w": draw(8, 8)})
    x = draw(4, 8, seed=1)
    truth = reference(model, {"x": x, "default": draw(1, 8)})[0]
    model = quantized(model, {"x": x})
    assert near(run(model, {"x": x})[0], truth)


def test_a_transposed_table_as_the_last_layer():
    nodes = [
        node("Gather", ["table", "ids"], "found"),
        node("Transpose", ["table"], "t", perm=[1, 0]),
        node("MatMul", ["found", "t"], "y"),
    ]
    table = draw(40, 8)
    ids = tensor("ids", TensorProto.INT64, ["n"])
    feeds = {"ids": np.arange(40)}
    model = quantized(opened(nodes, [ids], ["y"], {"table": table}), feeds)
    assert near(run(model, feeds)[0], table @ table.T)


def test_codes_are_as_wide_as_the_target_or_the_config_says():
    for settings, limit in [
        ({"pair_sums": False}, 127),
        ({"weight_range": "full"}, 127),
        ({"weight_range": "reduced"}, 63),
    ]:
        proto = models.mlp()
        model = quantized(proto, models.feeds(proto), **settings)
        arrays = [constant_of(v) for v in model.graph.initializers.values()]
        widest = max(np.abs(a.astype(int)).max() for a in arrays if a.dtype == np.int8)
        assert widest == limit


def test_globs_keep_layers_float(tmp_path):
    proto = models.depthwise()
    model = optimize(ir.from_proto(proto), Optimize(), Context())
    model = quantized(model, models.feeds(proto), keep_float=["depth/*"])
    assert as_run(model, tmp_path).count("QLinearConv") == 1


def test_an_activation_of_the_input_is_dropped_and_the_input_keeps_its_name():
    nodes = [node("Relu", ["x"], "r"), node("MatMul", ["r", "w"], "y")]
    x = draw(30, 8, seed=1)
    model = quantized(
        opened(nodes, [tensor("x", shape=["n", 8])], ["y"], {"w": draw(8, 8)}), {"x": x}
    )
    assert [(v.name, v.dtype.name) for v in model.graph.inputs] == [("x", "FLOAT")]
    assert near(run(model, {"x": x})[0], np.maximum(x, 0) @ draw(8, 8))


def test_what_is_missing_is_said():
    proto = models.mlp()
    with pytest.raises(RequestError, match="calibration") as caught:
        static(ir.from_proto(proto), Static(), Context())
    assert "quantize.dynamic" in caught.value.fix
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantized(proto, models.feeds(proto), keep_float=["*"])
    broken = models.feeds(proto)
    broken["input"][0, 0] = np.inf
    with pytest.raises(ModelError, match="'(input|hidden)' becomes NaN or infinite"):
        quantized(proto, broken)


def test_a_pad_with_zeros_pads_the_codes(tmp_path):
    """The codes below its zero point are on both sides of it, and the frame is exactly zero."""
    nodes = [conv("x", "a"), node("Pad", ["a", "frame"], "p"), conv("p", "b", "v"), tail("b")]
    constants = SQUARE | {"frame": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    x = draw(*IMAGE, seed=2)
    proto = opened(nodes, [X], ["y"], constants)
    truth = reference(proto, {"x": x})[0]
    model = quantized(proto, {"x": x})
    assert as_run(model, tmp_path)[:4] == ["QuantizeLinear", "QLinearConv", "Pad", "QLinearConv"]
    for optimize_it in (True, False):
        assert near(run(model, {"x": x}, optimize=optimize_it)[0], truth)


@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 8)])
def test_a_residual_sum_goes_on_in_float(shape, tmp_path):
    """Its branch would lose half a step for nothing, and cost a conversion."""
    nodes = [node("MatMul", ["x", "w"], "a"), node("Add", ["a", "x"], "y")]
    x = draw(*shape, seed=2)
    model = opened(nodes, [tensor("x", shape=shape)], ["y"], {"w": np.zeros((8, 8), np.float32)})
    model = quantized(model, {"x": x})
    real = as_run(model, tmp_path)
    assert "MatMulIntegerToFloat" in real
    assert "DequantizeLinear" not in real
    np.testing.assert_allclose(run(model, {"x": x})[0], x, rtol=1e-5)


def test_the_bias_behind_a_product_of_matrices_is_int32(tmp_path):
    proto = models.mlp()
    model = quantized(proto, models.feeds(proto))
    assert set(as_run(model, tmp_path)) == {"QuantizeLinear", "QGemm"}


def test_who_goes_on_in_float_does_not_miss_the_activation():
    """The first layer is kept float, so its Relu is read as codes and, by Tanh, as floats."""
    nodes = [
        conv("x", "a"),
        node("Relu", ["a"], "r"),
        conv("r", "b", "v"),
        node("Tanh", ["r"], "t"),
        node("Add", ["b", "t"], "y"),
    ]
    x = draw(*IMAGE, seed=2)
    proto = opened(nodes, [X], ["y"], SQUARE)
    truth = reference(proto, {"x": x})[0]
    model = quantized(proto, {"x": x}, keep_float=["w"])
    assert "QuantizeLinear" in ops(model)
    assert near(run(model, {"x": x})[0], truth)
