"""Models over 2 GB keep their weights beside the file: in, through every technique, and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import lissom
from lissom.onnx_file import write_onnx
from lissom.sessions import open_session
from lissom.task import Task
from tests import models
from tests.search.conftest import BRIEF


def test_weights_beside_the_file_through_every_technique(
    tmp_path: Path, instant: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.mlp(hidden=256)
    external = {"save_as_external_data": True, "size_threshold": 0, "location": "weights.bin"}
    onnx.save(model, tmp_path / "mlp.onnx", **external)
    feeds = models.feeds(model, 8)
    # As if every model were too large for one protobuf.
    monkeypatch.setitem(write_onnx.__kwdefaults__, "inline_limit", 1000)
    task = Task(calibration=feeds, validation=feeds, metric="cosine")
    result = lissom.compress(tmp_path / "mlp.onnx", task, settings=BRIEF)
    made = {artifact.row.name: artifact for artifact in result.artifacts}
    assert {
        "float16 storage", "int8 dynamic", "int8 static", "8-bit weights", "4-bit weights",
    } <= set(made)  # fmt: skip
    truth = ort.InferenceSession(tmp_path / "mlp.onnx").run(None, feeds)[0]
    for place, artifact in enumerate(made.values()):
        folder = artifact.save(tmp_path / f"out{place}")
        graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
        large = [t for t in graph.initializer if np.prod(t.dims) > 2048]
        assert all(t.data_location == onnx.TensorProto.EXTERNAL for t in large)
        assert (folder / "model.onnx.data").stat().st_size > 0
        if "2-bit" not in artifact.row.name:
            found = ort.InferenceSession(folder / "model.onnx").run(None, feeds)[0]
            assert np.abs(found - truth).max() <= 0.2 * np.abs(truth).max()


def test_sums_in_32_bits_with_weights_beside_the_file_that_two_layers_share(
    tmp_path: Path, instant: list[str]
) -> None:
    model = models.mlp(hidden=16)
    for node in model.graph.node:
        if node.op_type == "MatMul":
            node.input[1] = "fc1.weight"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 16
    del model.graph.node[-1]
    model.graph.node[-1].output[0] = "logits"
    onnx.save(model, tmp_path / "shared.onnx")
    result = lissom.compress(
        tmp_path / "shared.onnx", techniques=["quantize.dynamic"], settings=BRIEF
    )
    path = result.artifacts[-1].path
    quantized = onnx.load(path)
    external = {"save_as_external_data": True, "size_threshold": 0, "location": "w.bin"}
    onnx.save(quantized, tmp_path / "out.onnx", **external)
    feeds = models.feeds(model, 4)
    exact = open_session(tmp_path / "out.onnx", exact=True).run(None, feeds)[0]
    truth = open_session(tmp_path / "shared.onnx").run(None, feeds)[0]
    assert np.abs(exact - truth).max() <= 0.05 * np.abs(truth).max()
