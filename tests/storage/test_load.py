"""A packed ONNX file in ONNX Runtime: the answers of the unpacked one, and no file written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import lissom
from lissom.errors import FormatError, LissomError, ModelError, RequestError
from lissom.storage import load
from lissom.storage.pack import pack
from tests import models


@pytest.fixture(autouse=True, params=["taken apart", "whole"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models are given to ONNX Runtime whole; here also as large ones are."""
    if request.param == "taken apart":
        monkeypatch.setattr(load, "LARGEST_WHOLE", 0)
        monkeypatch.setattr(load, "SMALLEST", 1024)


def answers(session: ort.InferenceSession, model: onnx.ModelProto) -> list[np.ndarray]:
    return session.run(None, models.feeds(model, 8))


@pytest.mark.parametrize("name", ["mlp", "depthwise", "two_input", "encoder"])
@pytest.mark.parametrize("external", [False, True])
def test_a_packed_model_answers_as_the_file_does(
    name: str, external: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = getattr(models, name)()
    path = tmp_path / "models" / "model.onnx"
    path.parent.mkdir()
    onnx.save(
        getattr(models, name)(), path, save_as_external_data=external,
        location="weights.bin", size_threshold=128,
    )  # fmt: skip
    archive = pack(path, tmp_path / "model.lsm").path
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    expected = answers(ort.InferenceSession(path), model)
    path.unlink()
    (path.parent / "weights.bin").unlink(missing_ok=True)
    before = sorted(tmp_path.rglob("*"))
    found = answers(lissom.load(archive), model)
    assert sorted(tmp_path.rglob("*")) == before
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_weights_outlive_the_archive(tmp_path: Path) -> None:
    model = models.mlp(hidden=512)
    archive = pack(models.saved(model, tmp_path / "m.onnx"), tmp_path / "m.lsm").path
    sessions = [lissom.load(archive) for _ in range(4)]
    archive.unlink()
    churn = [np.full(1_000_000, 7, np.uint8) for _ in range(20)]
    expected = answers(ort.InferenceSession(tmp_path / "m.onnx"), model)
    for session in sessions:
        np.testing.assert_array_equal(answers(session, model)[0], expected[0])
    assert len(churn) == 20


def kinds_model() -> onnx.ModelProto:
    """Large weights of every type that is handed over, and of one that stays in the graph."""
    rng = np.random.default_rng(0)
    nodes, weights, outputs = [], [], []
    for kind in (
        TensorProto.BFLOAT16, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8,
        TensorProto.UINT8, TensorProto.INT64, TensorProto.BOOL, TensorProto.INT4,
        TensorProto.FLOAT8E4M3FN,
    ):  # fmt: skip
        name = TensorProto.DataType.Name(kind)
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        values = rng.integers(0, 2, (64, 64)).astype(np.float32).astype(dtype)
        weights.append(numpy_helper.from_array(values, f"w.{name}"))
        nodes.append(helper.make_node("Cast", [f"w.{name}"], [name], to=TensorProto.FLOAT))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [64, 64]))
    graph = helper.make_graph(nodes, "g", [], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("external", [False, True])
def test_weights_of_every_type_are_handed_over(external: bool, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(kinds_model(), path, save_as_external_data=external, location="w", size_threshold=100)
    archive = pack(path, tmp_path / "m.lsm").path
    expected = ort.InferenceSession(path).run(None, {})
    for a, b in zip(lissom.load(archive).run(None, {}), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_damaged_weights_are_refused_by_name_whichever_thread_finds_them(tmp_path: Path) -> None:
    model = models.mlp(hidden=1200)
    archive = pack(models.saved(model, tmp_path / "m.onnx"), tmp_path / "m.lsm").path
    whole = archive.read_bytes()
    for part in (0.3, 0.6, 0.9):
        damaged = bytearray(whole)
        damaged[int(len(whole) * part)] ^= 1
        archive.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"tensor '.*' of m.onnx is damaged"):
            lissom.load(archive)


def test_of_several_models_one_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "onnx").mkdir(parents=True)
    models.saved(models.mlp(), folder / "onnx" / "a.onnx")
    models.saved(models.encoder(), folder / "b.onnx")
    archive = pack(folder, tmp_path / "m.lsm").path
    with pytest.raises(RequestError, match="2 ONNX files: b.onnx, onnx/a.onnx"):
        lissom.load(archive)
    session = lissom.load(archive, "onnx/a.onnx")
    assert [each.name for each in session.get_inputs()] == ["input"]
    with pytest.raises(RequestError, match="unknown file"):
        lissom.load(archive, "onnx/c.onnx")


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"weights" * 99)
    archive = pack(tmp_path / "w.bin", tmp_path / "w.lsm").path
    with pytest.raises(RequestError, match="no ONNX file"):
        lissom.load(archive)
    with pytest.raises(FormatError, match="no lissom archive"):
        lissom.load(tmp_path / "w.bin")
    with pytest.raises(ModelError, match="no such archive"):
        lissom.load(tmp_path / "gone.lsm")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="no ONNX model"):
        lissom.load(pack(tmp_path / "bad.onnx", tmp_path / "bad.lsm").path)
    model = models.mlp()
    model.graph.node[0].op_type = "Frobnicate"
    models.saved(model, tmp_path / "odd.onnx")
    with pytest.raises(LissomError, match="no kernel|refuses"):
        lissom.load(pack(tmp_path / "odd.onnx", tmp_path / "odd.lsm").path)


def test_external_data_that_are_cut_short_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(models.mlp(), path, save_as_external_data=True, location="w.bin", size_threshold=128)
    whole = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(whole[:600])
    with pytest.raises(ModelError, match="reaches over the end of w.bin"):
        lissom.load(pack(path, tmp_path / "m.lsm").path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match="external data 'w.bin' of initializer .* are not in it"):
        lissom.load(pack(path, tmp_path / "m2.lsm").path)
