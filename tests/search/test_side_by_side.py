"""`lissom measure`: any two files, told like a search of one candidate."""

from __future__ import annotations

from pathlib import Path

import pytest

from lissom.errors import ModelError, RequestError
from lissom.model import Model, open_model
from lissom.search.side_by_side import side_by_side
from lissom.task import Task
from tests import models
from tests.search.conftest import BRIEF


def test_a_file_alone(mlp_onnx: Path) -> None:
    results = side_by_side(open_model(mlp_onnx), None, None, settings=BRIEF)
    assert results.rows == ()
    assert results.original.name == "mlp.onnx"
    assert results.original.measurement.footprint.bytes == mlp_onnx.stat().st_size
    assert results.original.measurement.latency is not None
    assert results.sentence == ""
    assert 'InferenceSession("mlp.onnx")' in results.snippet.replace("'", '"')


def test_two_files_with_a_task(tmp_path: Path, mlp_onnx: Path) -> None:
    large = models.saved(models.mlp(hidden=256), tmp_path / "large.onnx")
    task = Task(validation=models.feeds(models.mlp(), 40), metric="cosine")
    results = side_by_side(open_model(large), open_model(mlp_onnx), task, settings=BRIEF)
    assert results.original.name == "mlp.onnx"
    (row,) = results.rows
    assert row.name == "large.onnx"
    assert row.flags == ("not smaller than the original",)
    assert row.measurement.speed is not None
    assert row.measurement.quality is not None
    assert row.measurement.quality.fidelity
    assert row.measurement.quality.value.value < 0.9
    assert results.sentence.startswith("mlp.onnx became")


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = []
    for seed, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        paths.append(models.saved(models.mlp(seed), tmp_path / folder / "model.onnx"))
    results = side_by_side(open_model(paths[1]), open_model(paths[0]), None, settings=BRIEF)
    assert (results.original.name, results.rows[0].name) == (str(paths[0]), str(paths[1]))


def test_what_is_no_onnx_file_yet_cannot_be_measured(mlp_onnx: Path) -> None:
    network = Model("factory", "net.py:make")
    for pair in ((network, None), (open_model(mlp_onnx), network)):
        with pytest.raises(ModelError, match=r"only \.onnx files can be measured") as caught:
            side_by_side(*pair, None, settings=BRIEF)
        assert caught.value.where == "net.py:make"
        assert "lissom compress" in str(caught.value.fix)


def test_files_that_take_different_inputs_cannot_be_compared(
    mlp_onnx: Path, depthwise_onnx: Path
) -> None:
    with pytest.raises(RequestError, match="take different inputs") as caught:
        side_by_side(open_model(mlp_onnx), open_model(depthwise_onnx), None, settings=BRIEF)
    assert "image: float32" in caught.value.what


def test_a_mismatch_is_told_before_anything_is_timed(
    mlp_onnx: Path, depthwise_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lissom.search.side_by_side.measure", lambda *a, **k: pytest.fail("it was measured")
    )
    with pytest.raises(RequestError, match="take different inputs"):
        side_by_side(open_model(mlp_onnx), open_model(depthwise_onnx), None, settings=BRIEF)


def test_few_samples_are_said(mlp_onnx: Path) -> None:
    task = Task(validation=models.feeds(models.mlp(), 5), metric="cosine")
    results = side_by_side(open_model(mlp_onnx), None, task, settings=BRIEF)
    assert "only 5 samples" in " ".join(results.notes)
