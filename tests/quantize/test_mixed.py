from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from lissom.batches import Batches
from lissom.errors import ModelError, RequestError
from lissom.graph.bit_planes import planes_in
from lissom.graph.optimize import Optimize, optimize
from lissom.onnx_file import write_onnx
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.quantize.float16 import Float16, float16
from lissom.quantize.formats import layers_of
from lissom.quantize.mixed import Mixed, mixed
from lissom.quantize.static import Static, static
from lissom.quantize.weight_only import WeightOnly, weight_only
from lissom.tables import STATIC
from lissom.targets.fusion import read_back
from lissom.technique import TECHNIQUES, Context
from tests import models
from tests.graph.small import bytes_of, checked, draw, node, opened, run, tensor

RNG = np.random.default_rng(0)
FEEDS = {"ids": RNG.integers(0, 40, (32, 6)), "image": draw(32, 8, 8, 8)}


def network() -> ir.Model:
    """A table of rows, convolutions and products, all of which meet at the end."""
    nodes = [
        node("Gather", ["table", "ids"], "rows"),
        node("MatMul", ["rows", "q"], "query"),
        node("Relu", ["query"], "query_relu"),
        node("MatMul", ["query_relu", "k"], "key"),
        node("ReduceMean", ["key"], "words", axes=[1], keepdims=0),
        node("Conv", ["image", "c1"], "a", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "a_relu"),
        node("Conv", ["a_relu", "c2"], "b"),
        node("Relu", ["b"], "b_relu"),
        node("GlobalAveragePool", ["b_relu"], "pooled"),
        node("Flatten", ["pooled"], "picture"),
        node("Gemm", ["picture", "fc", "fc_bias"], "seen"),
        node("Add", ["words", "seen"], "y"),
    ]
    constants = {
        "table": draw(40, 64, scale=0.5),
        "q": draw(64, 64, scale=0.2, seed=1),
        "k": draw(64, 64, scale=0.2, seed=2),
        "c1": draw(32, 8, 3, 3, scale=0.2, seed=3),
        "c2": draw(32, 32, 3, 3, scale=0.1, seed=4),
        "fc": draw(32, 64, scale=0.3, seed=5),
        "fc_bias": draw(64, seed=6),
    }
    inputs = [tensor("ids", 7, ["n", 6]), tensor("image", shape=["n", 8, 8, 8])]
    return optimize(opened(nodes, inputs, ["y"], constants, opset=17), Optimize(), Context())


def context() -> Context:
    return Context(True, calibration=Batches.of(FEEDS))


def made(**settings) -> ir.Model:
    return checked(mixed(network(), Mixed.model_validate(settings), context()))


PLAIN = {
    "w8a8": (static, Static()),
    "w3a8": (static, Static(weight_bits=3, rounding="learned")),
    "w4a8": (static, Static(weight_bits=4)),
    "w8a8 dynamic": (dynamic, Dynamic()),
    "w8": (weight_only, WeightOnly(bits=8, embeddings=8)),
    "w4": (weight_only, WeightOnly(bits=4, embeddings=4)),
    "w2": (weight_only, WeightOnly(bits=2, embeddings=None)),
    "float16": (float16, Float16()),
}


@pytest.mark.parametrize("form", PLAIN)
def test_one_format_is_what_its_technique_makes(form):
    function, settings = PLAIN[form]
    rounding = {"rounding": "learned"} if form == "w3a8" else {}
    found = made(default=form, **rounding)
    assert bytes_of(found) == bytes_of(function(network(), settings, context()))
    # The same where every layer is named.
    layers = {each.name: form for each in layers_of(network()) if form in each.formats}
    if form != "float16":
        assert bytes_of(made(layers=layers, **rounding)) == bytes_of(found)


def test_many_formats_in_one_graph(tmp_path):
    given = {
        "rows/Gather": "w4", "query/MatMul": "w8a8 dynamic", "k": "w4", "a/Conv": "w8a8",
        "b/Conv": "w3a8", "fc": "float16",
    }  # fmt: skip
    model = made(layers=given)
    path = tmp_path / "mixed.onnx"
    write_onnx(model, path)
    kernels = Counter(each.kernel for each in read_back(path).fates)
    assert kernels["QLinearConv"] >= 2 and kernels["MatMulNBits"] == 1
    assert kernels["GatherBlockQuantized"] == 1
    assert [planes.value.name for planes in planes_in(model.graph)] == ["c2_quantized"]
    stored = model.graph.initializers
    assert stored["fc_float16"].dtype == ir.DataType.FLOAT16
    assert stored["c1_quantized"].dtype == stored["q_int8"].dtype == ir.DataType.INT8
    truth, found = run(network(), FEEDS)[0], run(model, FEEDS)[0]
    assert 0 < np.square(found - truth).mean() < 0.05 * np.square(truth).mean()


def test_what_is_not_named_stays_float():
    model = made(layers={"c2": "w8a8"})
    kept = model.graph.initializers
    for name in ("table", "q", "k", "c1", "fc"):
        np.testing.assert_array_equal(
            kept[name].const_value.numpy(), network().graph.initializers[name].const_value.numpy()
        )
    assert "c2" not in kept and "c2_quantized" in kept


def test_a_default_holds_for_what_it_applies_to_and_is_not_in_the_way_of_others():
    model = made(default="w8a8 dynamic", layers={"query/MatMul": "float32"})
    assert "q" in model.graph.initializers and "c1" in model.graph.initializers
    assert {"table_int8", "k_int8", "fc_int8"} < set(model.graph.initializers)


def test_formats_of_layers():
    found = {each.name: set(each.formats) for each in layers_of(network())}
    assert found["rows/Gather"] == {"float32", "float16", "w8a8 dynamic", "w8", "w4"}
    assert found["a/Conv"] == {"float32", "float16", *STATIC}
    assert found["query/MatMul"] == found["a/Conv"] | {"w8a8 dynamic", "w8", "w4", "w2"}
    # A small first convolution is faster in float, and quantize.static leaves it so.
    depthwise = {each.node.op_type: each for each in layers_of(ir.from_proto(models.depthwise()))}
    assert "Conv" in depthwise


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({"b/Con": "w8a8"}, "no layer or weight is called 'b/Con'.*'b/Conv'"),
        ({"b/Conv": "w8a8 dynamic"}, "'w8a8 dynamic' does not apply to the layer 'b/Conv'.*w2a8"),
        ({"table": "w2"}, "'w2' does not apply to the layer 'rows/Gather' .Gather"),
    ],
)
def test_what_cannot_be_is_refused_before_work(layers, words, monkeypatch):
    model = network()
    before = bytes_of(model)
    with pytest.raises(RequestError, match=f"(?s){words}"):
        mixed(model, Mixed(layers=layers), context())
    assert bytes_of(model) == before


def test_nothing_to_do_is_refused():
    with pytest.raises(ModelError, match="every layer is to stay float32"):
        mixed(network(), Mixed(), context())


def test_calibration_data_are_needed_for_static_layers_only():
    entry = TECHNIQUES["quantize.mixed"]
    assert "calibration" in entry.needs_of(Mixed(layers={"a": "w5a8"}))
    assert "calibration" not in entry.needs_of(Mixed(default="w4"))
    assert Mixed.model_validate_json(Mixed(layers={"a": "w5a8"}).model_dump_json()).layers == {
        "a": "w5a8"
    }


def products(*names: str, wide: int = 64, middle: str = "w") -> ir.Model:
    """Two products; their nodes' names, and the name of the second's weight, as given."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name=names[0]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MatMul", ["r", middle], ["b"], name=names[1]),
        helper.make_node("Sigmoid", ["b"], ["y"]),
    ]
    constants = {"w": draw(64, wide), middle: draw(wide, wide, seed=1)}
    return opened(nodes, [tensor("x", shape=["n", 64])], ["y"], constants)


def two(model: ir.Model, **layers) -> tuple[ir.Model, list[str | None]]:
    """The model in such formats, and what the second input of each product comes from."""
    context = Context(True, calibration=Batches.of({"x": draw(8, 64)}))
    found = checked(mixed(model, Mixed(layers=layers), context))
    readers = [each for each in found.graph if each.op_type in ("MatMul", "MatMulNBits")]
    makers = [each.inputs[1].producer() for each in readers]
    return found, [None if each is None else each.op_type for each in makers]


def test_names_that_mean_two_layers_do_not_confuse_them():
    # What bears no name goes by that of its result; its weight is the other's too.
    _, makers = two(products("", ""), r="w5a8", b="float32")
    assert makers == ["DequantizeLinear", None]
    # A file may call two nodes the same, which ONNX Runtime refuses.
    _, makers = two(products("n", "n", middle="v"), w="w5a8", v="float32")
    assert makers == ["DequantizeLinear", None]
    # The first node is called as the second one's weight, which is meant as well.
    found, makers = two(products("v", "second", middle="v"), v="w5a8", second="w8a8")
    assert makers == ["DequantizeLinear"] * 2
    assert {p.value.name: p.bits for p in planes_in(found.graph)} == {"w_quantized": 5}


def test_scales_of_other_formats_are_no_weights_to_store_as_float16():
    model, _ = two(products("one", "two", wide=1100, middle="v"), one="float16", two="w8a8 dynamic")
    types = {name: value.dtype for name, value in model.graph.initializers.items()}
    assert types == {
        "w_float16": ir.DataType.FLOAT16, "v_int8": ir.DataType.INT8, "v_scale": ir.DataType.FLOAT,
    }  # fmt: skip


def test_a_graph_without_layers_is_refused():
    model = opened([node("Relu", ["x"], "y")], [tensor("x", shape=[1])], ["y"])
    with pytest.raises(ModelError, match="no layer has a constant float32 weight"):
        mixed(model, Mixed(layers={"w": "w8"}), context())
