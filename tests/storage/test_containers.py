"""Tensors are found where the formats' own libraries say their bytes are."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lissom.errors import ModelError
from lissom.storage.containers import gguf
from lissom.storage.containers import onnx as onnx_container
from lissom.storage.containers import safetensors as safe_container
from lissom.storage.containers.ranges import NotThisFormat, TensorRange, tidy
from lissom.storage.containers.survey import survey
from tests import models
from tests.storage import archives
from tests.storage.fuzz import MemorySource

RNG = np.random.default_rng(0)


def ranges_of(proto: onnx.ModelProto) -> dict[str, tuple[TensorRange, bytes]]:
    data = proto.SerializeToString()
    source = MemorySource(data)
    found = [onnx_container.inline_range(t) for t in onnx_container.all_tensors(source)]
    return {r.name: (r, data[r.offset : r.offset + r.length]) for r in found if r is not None}


@pytest.mark.parametrize("name", ["mlp", "depthwise", "two_input", "encoder"])
def test_every_initializer_is_where_onnx_has_its_bytes(name: str) -> None:
    proto = getattr(models, name)()
    found = ranges_of(proto)
    raw = [each for each in proto.graph.initializer if each.HasField("raw_data")]
    assert raw
    for tensor in raw:
        place, content = found[tensor.name]
        assert content == tensor.raw_data
        assert place.shape == tuple(tensor.dims)
        assert place.dtype == {1: "F32", 7: "I64"}[tensor.data_type]


def test_tensors_in_attributes_and_in_graphs_of_graphs_have_names() -> None:
    inner = numpy_helper.from_array(RNG.normal(size=5).astype(np.float32), "inner")
    constant = numpy_helper.from_array(np.arange(4), "")
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [5])
    body = helper.make_graph([helper.make_node("Identity", ["inner"], ["y"])], "b", [], [out])
    body.initializer.append(inner)
    nodes = [
        helper.make_node("Constant", [], ["axes"], value=constant),
        helper.make_node("If", ["c"], ["z"], name="choice", then_branch=body, else_branch=body),
    ]
    found = ranges_of(helper.make_model(helper.make_graph(nodes, "g", [], [out])))
    assert found["axes.value"][1] == constant.raw_data
    assert found["inner"][1] == inner.raw_data


def test_packed_floats_are_found_and_packed_integers_are_left_alone() -> None:
    floats = helper.make_tensor("floats", TensorProto.FLOAT, [2], [1.5, -2.0])
    codes = helper.make_tensor("codes", TensorProto.INT8, [2], [1, -1])
    graph = helper.make_graph([], "g", [], [], [floats, codes])
    found = ranges_of(helper.make_model(graph))
    assert found["floats"][1] == np.array([1.5, -2.0], np.float32).tobytes()
    assert "codes" not in found


def test_safetensors_are_where_its_library_puts_them() -> None:
    arrays = {
        "a": RNG.normal(size=(3, 4)).astype(np.float16),
        "b.c": RNG.integers(0, 9, (7,)).astype(np.int8),
        "empty": np.zeros((0, 4), np.float32),
    }
    data = safetensors.numpy.save(arrays, metadata={"made": "here"})
    found = {r.name: r for r in safe_container.tensors(MemorySource(data))}
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        place = found[name]
        assert data[place.offset : place.offset + place.length] == array.tobytes()
        assert place.shape == array.shape
    assert safe_container.metadata(MemorySource(data)) == {"made": "here"}


@pytest.mark.parametrize("alignment", [32, 64])
def test_gguf_tensors_are_found_by_type_and_shape(alignment: int) -> None:
    blocks, norm, odd = bytes(range(72)), b"n" * 64, b"?" * 10
    data = archives.gguf(
        [("blk", (4, 32), 2, blocks), ("odd", (3,), 99, odd), ("norm", (16,), 0, norm)], alignment
    )
    found = {r.name: r for r in gguf.tensors(MemorySource(data))}
    assert found["blk"].dtype == "GGUF:Q4_0" and found["blk"].shape == (4, 32)
    for name, content in (("blk", blocks), ("norm", norm)):
        place = found[name]
        assert data[place.offset : place.offset + place.length] == content
    # A type from the future reaches to the next tensor.
    place = found["odd"]
    assert place.dtype == "GGUF:99"
    assert data[place.offset : place.offset + place.length].startswith(odd)


def test_sizes_of_ggml_blocks_are_those_of_its_table() -> None:
    """Bytes of a block by ggml's definition: scales and codes added up by hand."""
    sizes = {name: size for name, _, size in gguf.TYPES.values()}
    assert sizes["GGUF:Q4_0"] == 2 + 32 // 2
    assert sizes["GGUF:Q5_1"] == 2 + 2 + 4 + 32 // 2
    assert sizes["GGUF:Q8_0"] == 2 + 32
    assert sizes["GGUF:Q4_K"] == 2 + 2 + 12 + 256 // 2
    assert sizes["GGUF:Q6_K"] == 256 // 2 + 256 // 4 + 16 + 2
    assert sizes["GGUF:MXFP4"] == 1 + 32 // 2


def test_ranges_that_overlap_lose_their_names_and_tied_ones_keep_both() -> None:
    def place(name: str, offset: int, length: int) -> TensorRange:
        return TensorRange(name, "U8", (length,), offset, length)

    kept = tidy(
        [place("a", 0, 10), place("b", 5, 10), place("tied", 0, 10), place("c", 10, 5),
         place("far", 90, 20), place("a", 20, 1)], 100,
    )  # fmt: skip
    assert [(r.name, r.offset) for r in kept] == [("a", 0), ("tied", 0), ("c", 10), ("a#2", 20)]


@given(st.binary(max_size=300), st.sampled_from(["onnx", "safetensors", "gguf"]))
def test_any_bytes_are_parsed_or_refused(data: bytes, kind: str) -> None:
    source = MemorySource(b"GGUF\3\0\0\0" + data if kind == "gguf" else data)
    parsers = {
        "onnx": lambda s: list(onnx_container.all_tensors(s)),
        "safetensors": safe_container.tensors,
        "gguf": gguf.tensors,
    }
    with contextlib.suppress(NotThisFormat):
        parsers[kind](source)


@given(st.data())
def test_a_damaged_model_is_parsed_or_refused(data: st.DataObject) -> None:
    whole = bytearray(models.mlp(hidden=4).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotThisFormat):
        list(onnx_container.all_tensors(MemorySource(bytes(whole))))


def test_graphs_nested_without_end_are_refused() -> None:
    def field(number: int, content: bytes) -> bytes:
        length = len(content)
        size = bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14])
        return bytes([number << 3 | 2]) + size + content

    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(NotThisFormat, match="without end"):
        list(onnx_container.all_tensors(MemorySource(b"\x08\x08" + field(7, graph))))


def test_a_pipe_a_strange_name_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the folder is empty"):
        survey(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="no regular file"):
        survey(tmp_path)
    (tmp_path / "pipe").unlink()
    (tmp_path / "a:b").write_bytes(b"1")
    with pytest.raises(ModelError, match="cannot be given back everywhere"):
        survey(tmp_path)
