"""The error of a file, at its outputs or at what labels among them are chosen from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from lissom.onnx_file import read_onnx, write_onnx
from lissom.quantize.weight_only import WeightOnly, weight_only
from lissom.search.comparable import file_error
from lissom.targets.named import find_target
from lissom.technique import Context
from tests import models
from tests.models import node

OPEN = find_target().open


def packed(path: Path) -> Path:
    """The same network with weights of four bits."""
    made = path.with_name(f"packed-{path.name}")
    write_onnx(weight_only(read_onnx(path), WeightOnly(bits=4), Context()), made)
    return made


def test_a_label_is_judged_by_the_scores_it_is_chosen_from(tmp_path: Path) -> None:
    network = models.mlp(hidden=64)
    path = models.saved(network, tmp_path / "scores.onnx")
    batches = [models.feeds(network, 8, seed=seed) for seed in range(3)]
    truth, found = (
        np.concatenate([ort.InferenceSession(file).run(None, batch)[0] for batch in batches])
        for file in (path, packed(path))
    )
    error = np.square(found - truth).sum() / np.square(truth).sum()
    assert error > 1e-4
    assert file_error(OPEN, path, packed(path), batches) == pytest.approx(error, rel=1e-4)
    (scores,) = (output.name for output in network.graph.output)
    network.graph.node.append(node("ArgMax", [scores], "label", axis=1, keepdims=0))
    del network.graph.output[:]
    network.graph.output.append(models.value("label", onnx.TensorProto.INT64, "batch"))
    labels = models.saved(network, tmp_path / "labels.onnx")
    assert file_error(OPEN, labels, packed(labels), batches) == pytest.approx(error, rel=1e-4)
    # Of a file that calls its scores otherwise nothing can be told.
    renamed = read_onnx(packed(labels))
    for each in renamed.graph:
        for value in each.outputs:
            value.name = f"{value.name}_other" if value.name == scores else value.name
    write_onnx(renamed, tmp_path / "renamed.onnx")
    assert file_error(OPEN, labels, tmp_path / "renamed.onnx", batches) is None
