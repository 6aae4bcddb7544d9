"""Files from strangers are refused in words; what is written is what was read, byte for byte."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lissom.conform import conform
from lissom.errors import FolderError, ModelError
from lissom.graph.edit import tidy
from lissom.onnx_file import (
    TensorSpec,
    files_of,
    inputs_of,
    outputs_of,
    read_onnx,
    write_onnx,
)

WEIGHT = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)


def linear(weight: np.ndarray = WEIGHT, opset: int = 21) -> onnx.ModelProto:
    """x [batch, rows] times a weight."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", weight.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def external(tmp_path: Path, location: str, **entries: str) -> Path:
    """The linear model with its weight said to be in `location`."""
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "linear.onnx"
    onnx.save(linear(), file)
    return file


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_onnx(path)
    for word in words:
        assert word in str(caught.value)


def test_ports_are_told_with_names_types_and_shapes(path: Path) -> None:
    assert inputs_of(path) == (TensorSpec("x", "float32", ("batch", 64)),)
    assert outputs_of(path) == (TensorSpec("y", "float32", ()),)


@pytest.mark.parametrize("unknown", ["?", "", "-1", "None"])
def test_a_dimension_that_is_called_unknown_has_no_name(tmp_path: Path, unknown: str) -> None:
    """Paddle calls both sides of a picture "?": they are no two dimensions of one name."""
    model = linear()
    del model.graph.input[:]
    sizes = [unknown, 3, unknown, unknown, "unk__12", "seq-len", "past + 1"]
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes))
    onnx.save(model, tmp_path / "paddle.onnx")
    (spec,) = inputs_of(tmp_path / "paddle.onnx")
    assert spec.shape == (None, 3, None, None, "unk__12", "seq-len", "past + 1")
    conform({"x": np.zeros((1, 3, 48, 192, 1, 1, 1), np.float32)}, (spec,), "here")


def test_initializers_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = linear()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [64, 32]))
    onnx.save(model, tmp_path / "old_style.onnx")
    assert [spec.name for spec in inputs_of(tmp_path / "old_style.onnx")] == ["x"]


def test_written_file_is_the_same_every_time_and_computes_the_same(
    path: Path, tmp_path: Path
) -> None:
    for name in ("one.onnx", "two.onnx"):
        write_onnx(read_onnx(path), tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    session = ort.InferenceSession(tmp_path / "one.onnx")
    x = np.ones((3, 64), np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ WEIGHT, rtol=1e-5, atol=1e-5)


def test_large_weights_go_beside_the_file_and_come_back(path: Path, tmp_path: Path) -> None:
    large = tmp_path / "large" / "model.onnx"
    write_onnx(read_onnx(path), large, inline_limit=1000)
    assert files_of(large) == (large, large.parent / "model.onnx.data")
    assert large.stat().st_size < 500 < WEIGHT.nbytes <= files_of(large)[1].stat().st_size
    tensor = read_onnx(large).graph.initializers["w"].const_value
    assert isinstance(tensor, ir.ExternalTensor)  # mapped, not loaded
    np.testing.assert_array_equal(tensor.numpy(), WEIGHT)
    ort.InferenceSession(large)
    write_onnx(read_onnx(large), tmp_path / "inline.onnx")
    write_onnx(read_onnx(path), tmp_path / "expected.onnx")
    assert (tmp_path / "inline.onnx").read_bytes() == (tmp_path / "expected.onnx").read_bytes()


def test_writing_leaves_the_graph_and_nothing_else_behind(path: Path, tmp_path: Path) -> None:
    model = read_onnx(path)
    before = model.graph.initializers["w"].const_value
    write_onnx(model, tmp_path / "out" / "a.onnx", inline_limit=0)
    assert model.graph.initializers["w"].const_value is before
    assert sorted(os.listdir(tmp_path / "out")) == ["a.onnx", "a.onnx.data"]


def test_mapped_weights_survive_a_change_of_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_onnx(read_onnx(path), tmp_path / "m.onnx", inline_limit=0)
    monkeypatch.chdir(tmp_path)
    model = read_onnx("m.onnx", check_weights=False)
    monkeypatch.chdir("/")
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), WEIGHT)


def test_unwritable_place_is_a_folder_error(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        write_onnx(read_onnx(path), tmp_path / "file" / "model.onnx")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_is_a_folder_error_and_leaves_no_half_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_onnx(path)

    def to_full_disk(self: Path, data: bytes) -> int:
        with open("/dev/full", "wb", buffering=0) as disk:
            return disk.write(data)

    monkeypatch.setattr(Path, "write_bytes", to_full_disk)
    with pytest.raises(FolderError, match="No space left") as caught:
        write_onnx(model, tmp_path / "out" / "model.onnx")
    assert caught.value.fix is not None
    assert "free some space" in caught.value.fix
    assert os.listdir(tmp_path / "out") == []


def test_what_is_no_model_at_all(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    refused(file, "no such model file", str(file))
    refused(tmp_path, "not a folder")
    for content, words in [
        (b"", "empty"),
        (b"just some text, nothing else\n" * 50, "not an ONNX model"),
        (random.Random(0).randbytes(10_000), "not an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x80\x02}q\x00.", "never loads"),
        (b"PK\x03\x04 archive/data.pkl", "never loads"),
        (b"\x1c\x00\x00\x00TFL3" + b"\0" * 40, "LiteRT"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
    ]:
        file.write_bytes(content)
        refused(file, words)


def test_truncated_anywhere_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for end in range(1, len(data), 97):
        path.write_bytes(data[:end])
        with pytest.raises(ModelError):
            read_onnx(path)


def test_damaged_bytes_never_raise_anything_else(path: Path) -> None:
    data, draw = path.read_bytes(), random.Random(1)
    refusals = 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            places = (draw.randrange(80), draw.randrange(len(data) - 80, len(data)))
            damaged[draw.choice(places)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read_onnx(path)
        except ModelError:
            refusals += 1
    assert refusals > 200


def test_a_model_without_operators(tmp_path: Path) -> None:
    empty = linear()
    empty.graph.ClearField("node")
    empty.graph.output[0].name = "x"
    onnx.save(empty, tmp_path / "empty.onnx")
    refused(tmp_path / "empty.onnx", "no operators")


def test_a_value_that_nothing_produces(tmp_path: Path) -> None:
    model = linear()
    model.graph.node[0].input[1] = "lost"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "m.onnx", "MatMul needs 'lost'")


@pytest.mark.parametrize("dims", [[64, 33], [10**12, 10**12], [-64, -32], [64]])
def test_a_shape_that_its_bytes_do_not_fill(tmp_path: Path, dims: list[int]) -> None:
    model = linear()
    model.graph.initializer[0].dims[:] = dims
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "m.onnx", "tensor 'w'", "shape")


def test_typed_fields_are_counted_too(tmp_path: Path) -> None:
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0] * 100)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "m.onnx", "holds 100 values where its shape needs 2048")
    tensor.float_data.extend([1.0] * 1948)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    read_onnx(tmp_path / "m.onnx")


def test_external_data_must_be_there_and_whole(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin", offset="0", length=str(WEIGHT.nbytes))
    refused(path, "'weights.bin' is missing", "tensor 'w'")
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes()[:-1])
    refused(path, "cut short", "8,192")
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
    read_onnx(path)
    refused(external(tmp_path, "weights.bin", length="10"), "claims 10 bytes")
    refused(external(tmp_path, "weights.bin", offset="-4"), "at -4")
    refused(external(tmp_path, "weights.bin", offset="many"), "no number")


@pytest.mark.parametrize(
    "location", ["../secret.bin", "{}/secret.bin", "link.bin", "", "a/../../x"]
)
def test_external_data_stay_in_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    refused(external(folder, location.format(tmp_path)), "outside the model's folder", "'w'")


def test_weights_must_be_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for value, word in ((np.nan, "NaN"), (np.inf, "infinity")):
        weight = WEIGHT.copy()
        weight[-1, -1] = value
        onnx.save(linear(weight), path)
        refused(path, word, "tensor 'w'", "[64, 32]")
        read_onnx(path, check_weights=False)
    mask = np.triu(np.full((64, 64), -np.inf, np.float32), 1)
    onnx.save(linear(mask), path)
    assert read_onnx(path).graph.initializers["w"].shape == [64, 64]


def test_half_precision_weights_are_checked(tmp_path: Path) -> None:
    model = linear()
    extra = np.ones((8, 8), np.float16)
    extra[3, 3] = np.nan
    model.graph.initializer.append(numpy_helper.from_array(extra, "half"))
    onnx.save(model, tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "tensor 'half'")


def classifier(tmp_path: Path) -> Path:
    """Scores of two classes as scikit-learn's exporter gives them: a map for each sample."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [4, 2], np.arange(8.0) / 8)
    nodes = [
        helper.make_node("MatMul", ["x", "table"], ["scores"]),
        helper.make_node(
            "ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[3, 7]
        ),
    ]
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, number))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_value_info("maps", maps)],
        [table],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    path = tmp_path / "classifier.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_maps_among_the_outputs_are_carried_through(tmp_path: Path) -> None:
    path, out = classifier(tmp_path), tmp_path / "out.onnx"
    assert outputs_of(path) == (TensorSpec("maps", "sequence of maps", ()),)
    assert str(outputs_of(path)[0]) == "maps: sequence of maps"
    write_onnx(read_onnx(path), out)
    onnx.checker.check_model(onnx.load(out))
    assert onnx.load(out).graph.output[0] == onnx.load(path).graph.output[0]
    assert outputs_of(out) == outputs_of(path)
    (found,) = ort.InferenceSession(out).run(None, {"x": np.eye(4, dtype=np.float32)[1:2]})
    assert found == [{3: 0.25, 7: 0.375}]


def test_a_map_among_the_inputs_is_refused_by_name(tmp_path: Path) -> None:
    path = classifier(tmp_path)
    model = onnx.load(path)
    model.graph.input[0].type.CopyFrom(model.graph.output[0].type.sequence_type.elem_type)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="input 'x' is not a tensor of known type"):
        read_onnx(path)


def test_sparse_weights_are_refused_by_name(tmp_path: Path) -> None:
    model = linear()
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    places = numpy_helper.from_array(np.array([3, 9]), "w_places")
    sparse = helper.make_sparse_tensor(values, places, [64, 32])
    del model.graph.initializer[:]
    model.graph.sparse_initializer.append(sparse)
    path = tmp_path / "sparse.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="stores 'w' as a sparse tensor"):
        read_onnx(path)


def test_what_onnx_ir_cannot_read_is_not_called_damage(tmp_path: Path) -> None:
    model = linear()
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([3])), [8])
    node = model.graph.node.add(op_type="Constant", output=["unused"])
    node.attribute.append(helper.make_attribute("sparse_value", sparse))
    path = tmp_path / "sparse.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="holds something that lissom cannot read: Sparse") as told:
        read_onnx(path)
    assert "damaged" not in str(told.value)
    assert "PR" not in str(told.value)


@pytest.mark.parametrize(
    "junk", ["", "[]", "3", '{"batch": 3}', '{"batch": [1.5, "x"]}', "[" * 100_000]
)
def test_ranges_that_somebody_else_wrote_otherwise_are_no_ranges(path: Path, junk: str) -> None:
    model = read_onnx(path)
    model.metadata_props["lissom.axes"] = junk
    write_onnx(model, path)
    assert inputs_of(path) == (TensorSpec("x", "float32", ("batch", 64)),)


def test_an_element_type_left_undefined_is_told_of_an_output_and_refused_of_an_input(
    path: Path,
) -> None:
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UNDEFINED
    path.write_bytes(model.SerializeToString())
    assert outputs_of(path)[0].dtype == "undefined"
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UNDEFINED
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="input 'x' is not a tensor of known type"):
        read_onnx(path)


def test_the_long_name_of_the_operator_set_is_the_short_one(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    model.opset_import[0].domain = model.graph.node[0].domain = "ai.onnx"
    path.write_bytes(model.SerializeToString())
    read = read_onnx(path)
    assert read.opset_imports == {"": 21}
    tidy(read)
    write_onnx(read, tmp_path / "out.onnx")
    ort.InferenceSession(tmp_path / "out.onnx")
