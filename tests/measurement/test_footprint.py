"""Bytes and parameters are those of the file, whatever form its weights have."""

import numpy as np
import onnx
from onnx import helper

from lissom.measurement.footprint import footprint, parameters, size_on_disk
from tests import models
from tests.measurement.stacks import floats, graph_of, stack


def float_weights(model):
    return sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    )


def test_external_data_count_as_bytes_and_parameters(tmp_path):
    model = models.mlp()
    inline, external = tmp_path / "inline.onnx", tmp_path / "external.onnx"
    onnx.save(model, inline)
    onnx.save(model, external, save_as_external_data=True, location="w.bin", size_threshold=0)
    on_disk = external.stat().st_size + (tmp_path / "w.bin").stat().st_size
    assert size_on_disk(inline) == inline.stat().st_size
    assert size_on_disk(external) == on_disk
    assert parameters(inline) == parameters(external) == float_weights(model)


def test_dynamic_quantization_keeps_the_parameters(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    model = models.encoder()
    source, target = tmp_path / "f.onnx", tmp_path / "q.onnx"
    onnx.save(model, source)
    quantize_dynamic(source, target, per_channel=True)
    assert size_on_disk(target) < size_on_disk(source)
    assert parameters(target) == parameters(source) == float_weights(onnx.load(source))


def test_packed_weights_count_as_the_weights_they_stand_for(tmp_path):
    product = helper.make_node(
        "MatMulNBits", ["g", "w", "s", "z"], ["y"], domain="com.microsoft", K=32, N=16, bits=4,
        block_size=32,
    )  # fmt: skip
    table = helper.make_node(
        "GatherBlockQuantized", ["t", "x", "ts"], ["g"], domain="com.microsoft", block_size=32,
        bits=4, quantize_axis=1, gather_axis=0,
    )  # fmt: skip
    ids = helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["n"])
    model = graph_of(
        [table, product],
        [ids],
        [floats("y", "n", 16)],
        {
            "t": np.zeros((10, 16), np.uint8),
            "ts": np.ones((10, 1), np.float32),
            "w": np.zeros((16, 1, 16), np.uint8),
            "s": np.ones(16, np.float32),
            "z": np.zeros(16, np.uint8),
            "unrelated_shape": np.array([1, 2]),
        },
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    assert parameters(path) == 10 * 32 + 32 * 16
    found = footprint(path, {"x": np.zeros(4, np.int64)}, samples=4)
    assert found.macs == 32 * 16


def test_constants_count_as_initializers_do_and_shared_ones_once(tmp_path):
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["k"]),
        helper.make_node("Add", ["k", "b"], ["y"]),
    ]
    model = graph_of(
        nodes, [floats("x", "n", 4)], [floats("y", "n", 4)], {"b": np.ones(4, np.float32)}
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    assert parameters(path) == 16 + 4


def test_footprint_counts_work_per_sample(tmp_path):
    path = stack(tmp_path / "a.onnx", 3, width=16)
    found = footprint(path, {"x": np.ones((8, 16), np.float32)}, samples=8)
    assert found.macs == found.parameters == 3 * 16 * 16
    assert found.bytes == path.stat().st_size
