"""Bytes by layer: the rows add up to the files, and each layer meets its own compressed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lissom.measurement.layer_bytes import ADDED, GRAPH, LayerBytes, layer_bytes, layer_of
from tests import models


def tensor(name: str, shape: tuple[int, ...], dtype: str = "float32") -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def written(path: Path, nodes: list[onnx.NodeProto], tensors: list[TensorProto]) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        initializer=tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def by_name(found: tuple[LayerBytes, ...]) -> dict[str, tuple[int, int]]:
    return {one.name: (one.original, one.compressed) for one in found}


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return written(
        tmp_path / "original.onnx",
        [helper.make_node("Gemm", ["x", "net.head.weight", "net.head.bias"], ["y"], "head")],
        [tensor("net.head.weight", (8, 4)), tensor("net.head.bias", (4,))],
    )


def test_names_of_layers() -> None:
    assert layer_of("encoder.0.query.weight") == "encoder.0.query"
    assert layer_of("model/dense/kernel:0") == "model/dense"
    assert layer_of("onnx::MatMul_17") == "onnx::MatMul_17"
    assert layer_of(".weight") == ".weight"


def test_quantized_tensors_belong_to_what_they_are_called_after(
    original: Path, tmp_path: Path
) -> None:
    compressed = written(
        tmp_path / "compressed.onnx",
        [
            helper.make_node(
                "DequantizeLinear", ["net.head.weight_int8", "net.head.weight_scale"], ["w"], "d"
            ),
            helper.make_node("Gemm", ["x", "w", "net.head.bias"], ["y"], "head"),
        ],
        [
            tensor("net.head.weight_int8", (8, 4), "int8"),
            tensor("net.head.weight_scale", ()),
            tensor("net.head.bias", (4,)),
        ],
    )
    found = by_name(layer_bytes(original, compressed))
    assert found["net.head"] == (8 * 4 * 4 + 4 * 4, 8 * 4 + 4 + 4 * 4)
    assert set(found) == {"net.head", GRAPH}
    assert sum(one for one, _ in found.values()) == original.stat().st_size
    assert sum(other for _, other in found.values()) == compressed.stat().st_size


def test_a_renamed_tensor_is_known_by_the_node_that_reads_it(
    original: Path, tmp_path: Path
) -> None:
    compressed = written(
        tmp_path / "compressed.onnx",
        [
            helper.make_node("DequantizeLinear", ["packed", "s"], ["w"], "unpack"),
            helper.make_node("Gemm", ["x", "w"], ["z"], "head"),
            helper.make_node("Add", ["z", "shift"], ["y"], "new"),
        ],
        [tensor("packed", (8, 4), "int8"), tensor("s", ()), tensor("shift", (4,))],
    )
    found = by_name(layer_bytes(original, compressed))
    assert found["net.head"] == (144, 8 * 4 + 4)
    assert found[ADDED] == (0, 16)


def test_constants_count_and_external_data_too(original: Path, tmp_path: Path) -> None:
    held = helper.make_node("Constant", [], ["w"], value=tensor("", (8, 4)))
    compressed = written(
        tmp_path / "constant.onnx",
        [held, helper.make_node("Gemm", ["x", "w"], ["y"], "head")],
        [],
    )
    assert by_name(layer_bytes(original, compressed))["net.head"] == (144, 128)
    outside = tmp_path / "outside.onnx"
    onnx.save(
        onnx.load(original), outside, save_as_external_data=True, size_threshold=0, location="data"
    )
    found = by_name(layer_bytes(outside, original))
    assert found["net.head"] == (144, 144)
    files = outside.stat().st_size + (tmp_path / "data").stat().st_size
    assert sum(one for one, _ in found.values()) == files


def test_a_whole_network_beside_itself(tmp_path: Path) -> None:
    path = models.saved(models.encoder(), tmp_path / "encoder.onnx")
    found = layer_bytes(path, path)
    assert all(one.original == one.compressed for one in found)
    assert sum(one.original for one in found) == path.stat().st_size
    assert ADDED not in {one.name for one in found}
    assert [one.original for one in found] == sorted((o.original for o in found), reverse=True)


def test_bytes_that_two_tensors_share_count_once(tmp_path: Path) -> None:
    tied = []
    for name in ("embed.weight", "head.weight"):
        shared = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[64, 64])
        shared.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "tied.data"), ("offset", "0"), ("length", "16384")):
            shared.external_data.add(key=key, value=value)
        tied.append(shared)
    (tmp_path / "tied.data").write_bytes(bytes(16384))
    nodes = [
        helper.make_node("MatMul", ["x", "embed.weight"], ["h"], "embed"),
        helper.make_node("MatMul", ["h", "head.weight"], ["y"], "head"),
    ]
    path = written(tmp_path / "tied.onnx", nodes, tied)
    found = layer_bytes(path, path)
    assert sum(one.original for one in found) == path.stat().st_size + 16384
    assert by_name(found)["embed"] == (16384, 16384)
