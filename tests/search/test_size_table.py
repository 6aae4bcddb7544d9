from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.batches import Batches
from lissom.graph.optimize import Optimize, optimize
from lissom.onnx_file import write_onnx
from lissom.quantize.formats import layers_of
from lissom.quantize.mixed import Mixed, mixed
from lissom.search.size_table import in_one_format, size_table
from lissom.tables import FORMATS, Allocation
from lissom.technique import Context
from tests.graph.small import draw, node, opened, tensor

FORMATS_HERE = [form for form in FORMATS if form != "float32"]
FEEDS = {"ids": np.arange(12).reshape(2, 6), "image": draw(2, 32, 6, 6)}


def network() -> ir.Model:
    """A table, three convolutions and three products, of 150,000 weights."""
    nodes = [
        node("Gather", ["table", "ids"], "rows"),
        node("MatMul", ["rows", "q"], "query"),
        node("Add", ["query", "q_bias"], "query_sum"),
        node("Relu", ["query_sum"], "query_relu"),
        node("MatMul", ["query_relu", "k"], "key"),
        node("ReduceMean", ["key", "axes"], "words", keepdims=0),
        node("Conv", ["image", "c1", "c1_bias"], "a", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "a_relu"),
        node("Conv", ["a_relu", "c2"], "b", pads=[1, 1, 1, 1]),
        node("Add", ["b", "a_relu"], "sum"),
        node("Conv", ["sum", "c3"], "c"),
        node("Relu", ["c"], "c_relu"),
        node("GlobalAveragePool", ["c_relu"], "pooled"),
        node("Flatten", ["pooled"], "picture"),
        node("Gemm", ["picture", "fc", "fc_bias"], "seen"),
        node("Add", ["words", "seen"], "y"),
    ]
    constants = {
        "table": draw(200, 128), "q": draw(128, 128), "q_bias": draw(128),
        "k": draw(128, 128, seed=1),
        "c1": draw(64, 32, 3, 3), "c1_bias": draw(64), "c2": draw(64, 64, 3, 3),
        "c3": draw(64, 64, 3, 3, seed=1), "fc": draw(64, 128), "fc_bias": draw(128, seed=1),
        "axes": np.asarray([1]),
    }  # fmt: skip
    inputs = [tensor("ids", 7, ["n", 6]), tensor("image", shape=["n", 32, 6, 6])]
    return optimize(opened(nodes, inputs, ["y"], constants, opset=21), Optimize(), Context())


@pytest.fixture(scope="module")
def context() -> Context:
    return Context(True, calibration=Batches.of(FEEDS))


@pytest.fixture(scope="module")
def uniform(context):
    return {form: in_one_format(network(), form, context) for form in FORMATS_HERE}


@pytest.fixture(scope="module")
def table(uniform):
    return size_table(network(), uniform)


def bytes_in_file(model, tmp_path) -> int:
    write_onnx(model, tmp_path / "model.onnx")
    return (tmp_path / "model.onnx").stat().st_size


def test_it_is_exact_for_one_format(uniform, table, tmp_path):
    layers = layers_of(network())
    assert abs(table.predict(Allocation(formats={})) - bytes_in_file(network(), tmp_path)) <= 2
    for form, model in uniform.items():
        mine = {each.name: form for each in layers if form in each.formats}
        predicted = table.predict(Allocation(formats=mine))
        assert abs(predicted - bytes_in_file(model, tmp_path)) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_it_predicts_the_size_of_any_mixture(seed, table, context, tmp_path):
    rng = np.random.default_rng(seed)
    chosen = {each.name: str(rng.choice(each.formats)) for each in layers_of(network())}
    found = mixed(network(), Mixed(layers=chosen), context)
    predicted = table.predict(Allocation(formats=chosen))
    assert predicted == pytest.approx(bytes_in_file(found, tmp_path), rel=0.01)


def test_fewer_bits_take_fewer_bytes(table):
    weights = 64 * 64 * 9
    sizes = table.layers["b/Conv"]
    order = [sizes[form] for form in ("w2a8", "w3a8", "w5a8", "w6a8", "w7a8", "float16", "float32")]
    assert order == sorted(order)
    for form, bits in (("w2a8", 2), ("w4a8", 4), ("w8a8", 8), ("float32", 32)):
        assert 0 < sizes[form] - weights * bits / 8 < 2500
    assert set(table.layers["rows/Gather"]) == {"float32", "float16", "w8a8 dynamic", "w8", "w4"}
