"""Batches are cut where the model lets them be, and are looked at whole where it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import lissom
from lissom.batches import Batches
from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.pieces import first_rows, free_inputs, pieces
from lissom.diagnosis.speed import times
from lissom.onnx_file import read_onnx, write_onnx
from lissom.quantize.static import Static, static
from lissom.technique import Context
from tests.models import Array, Weights, build, feeds, mlp, node, saved, value

ROWS = 12


def fixed(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The model as many exporters write it."""
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = batch
    return model


def beside() -> onnx.ModelProto:
    """Attention to a context of 12 rows, at a temperature: neither has an axis of samples."""
    weights = Weights(0)
    nodes = [
        node("MatMul", ["x", weights.draw("w0", 16, 32, fan_in=16)], "query"),
        node("MatMul", ["query", "keys"], "scores"),
        node("Mul", ["scores", "temperature"], "scaled"),
        node("Softmax", ["scaled"], "attention"),
        node("MatMul", ["attention", "values"], "found"),
        node("MatMul", ["found", weights.draw("w1", 32, 5, fan_in=32)], "logits"),
    ]
    inputs = [
        value("temperature", TensorProto.FLOAT),
        value("x", TensorProto.FLOAT, "batch", 16),
        value("keys", TensorProto.FLOAT, 32, 12),
        value("values", TensorProto.FLOAT, 12, 32),
    ]
    return build("beside", nodes, inputs, value("logits", 1, "batch", 5), weights, 17)


def batches_of(model: onnx.ModelProto, rows: int, count: int = 4) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    if model.graph.name == "mlp":
        return [feeds(mlp(), rows, seed=seed) for seed in range(count)]
    context = rng.normal(size=(12, 32)).astype(np.float32)
    return [
        {
            "temperature": np.asarray(0.5, np.float32),
            "x": rng.normal(size=(rows, 16)).astype(np.float32),
            "keys": np.ascontiguousarray(context.T),
            "values": context,
        }
        for _ in range(count)
    ]


def int8(
    model: onnx.ModelProto, batches: list[dict[str, Array]], folder: Path
) -> tuple[Path, Path]:
    """The file and its quantized form."""
    first = saved(model, folder / "float.onnx")
    made = static(read_onnx(first), Static(), Context(calibration=Batches.of(batches)))
    write_onnx(made, folder / "int8.onnx")
    return first, folder / "int8.onnx"


def test_what_is_cut_and_what_is_not(tmp_path: Path) -> None:
    free = free_inputs(saved(beside(), tmp_path / "beside.onnx"))
    assert free == {"x"}
    data = batches_of(beside(), ROWS)
    some = pieces(data, free, 32)
    assert [len(each["x"]) for each in some] == [4, 4] * 4
    assert np.array_equal(
        np.concatenate([each["x"] for each in some]),
        np.concatenate([each["x"][:8] for each in data]),
    )
    assert all(np.array_equal(each["values"], data[0]["values"]) for each in some)
    one = first_rows(data[0], free, 1)
    assert (one["x"].shape, one["keys"].shape) == ((1, 16), (32, 12))
    # As many samples as were asked for, whole where the batch is fixed: also in one of two files.
    whole = saved(fixed(mlp(), 12), tmp_path / "fixed.onnx")
    dynamic = saved(mlp(), tmp_path / "free.onnx")
    assert free_inputs(dynamic) == {"input"} and not free_inputs(dynamic, whole)
    data = batches_of(mlp(), ROWS)
    assert [len(each["input"]) for each in pieces(data, frozenset(), 32)] == [12, 12, 12]
    assert first_rows(data[0], frozenset(), 1)["input"].shape == (12, 16)
    # Axes of samples that differ are not one axis.
    apart = {"images": np.zeros((8, 3)), "texts": np.zeros((2, 3))}
    assert pieces([apart], {"images", "texts"}, 32) == [apart]


def test_a_fixed_batch_says_what_a_free_one_does(tmp_path: Path) -> None:
    data = batches_of(mlp(), 16)
    first, second = int8(mlp(), data, tmp_path)
    plain = diagnose(first, second, data, pair_sums=False)
    for name in (first, second):
        onnx.save(fixed(onnx.load(name), 16), tmp_path / f"fixed.{name.name}")
    pair = tmp_path / "fixed.float.onnx", tmp_path / "fixed.int8.onnx"
    found = diagnose(*pair, data, pair_sums=False)
    assert found.samples == plain.samples == 64
    assert found.output_error == pytest.approx(plain.output_error)
    for one, other in zip(plain.layers, found.layers, strict=True):
        assert other.added == pytest.approx(one.added, rel=1e-3)
        # On other samples, as whole batches are taken.
        assert other.share == pytest.approx(one.share, abs=0.15)
    measured = times(*pair, data[0], seconds=0.2)
    assert measured.inputs == "input 16x16" and measured.original > 0
    made_up = lissom.diagnose(*pair, times=False)
    assert made_up.verdicts[0].words.startswith("healthy")


def test_inputs_without_an_axis_of_samples(tmp_path: Path) -> None:
    data = batches_of(beside(), ROWS)
    first, second = int8(beside(), data, tmp_path)
    found = diagnose(first, second, data, pair_sums=False)
    assert found.samples == ROWS * len(data)
    assert 0 < found.output_error < 1e-2
    assert sum(each.share for each in found.layers) == pytest.approx(1.0)
    assert found.alone == pytest.approx(found.output_error, rel=0.5)
    measured = times(first, second, data[0], seconds=0.2)
    assert "x 1x16, keys 32x12, values 12x32" in measured.inputs
