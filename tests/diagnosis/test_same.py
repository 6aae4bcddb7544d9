"""Two files that do not compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from lissom.diagnosis.diagnose import diagnose
from lissom.errors import ModelError
from tests import models
from tests.diagnosis.networks import images, quantized, residual, sentences, transformer


def test_other_weights_are_told_with_the_first_tensor(healthy, tmp_path):
    case = healthy["residual", "full"]
    other = quantized(residual(seed=1), images(), tmp_path)
    with pytest.raises(ModelError, match="part at the tensor 'stem.active'.*'stem.sum/Conv'"):
        diagnose(case.original, other.healthy, case.batches)


def test_other_inputs(healthy, tmp_path):
    case = healthy["residual", "full"]
    file = models.saved(transformer(), tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="takes ids: int64.*the original image: float32"):
        diagnose(case.original, file, case.batches)


def test_nothing_that_matches(healthy, tmp_path):
    """A network of the same inputs and outputs, inside of which nothing has a name or shape."""
    case = healthy["transformer", "full"]
    nodes = [
        models.node("Cast", ["ids"], "floats", to=onnx.TensorProto.FLOAT),
        models.node("ReduceMean", ["floats", "axis"], "mean", keepdims=1),
    ]
    weights = models.Weights(0)
    weights.keep("axis", [1], np.int64)
    weights.draw("w", 1, 32, fan_in=1)
    nodes.append(models.node("MatMul", ["mean", "w"], "elsewhere"))
    inputs = [models.value("ids", onnx.TensorProto.INT64, "batch", "sequence")]
    output = models.value("elsewhere", onnx.TensorProto.FLOAT, "batch", 32)
    file = models.saved(models.build("x", nodes, inputs, output, weights, 21), tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="no tensor of the compressed model matches"):
        diagnose(case.original, file, sentences(1))
