from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.errors import ModelError
from lissom.graph.capture import capture
from tests import models
from tests.graph.small import bytes_of, draw, node, opened, reference, tensor


def test_tensors_inside_the_graph_are_what_the_reference_computes():
    proto = models.mlp()
    batches = [models.feeds(proto, 3, seed=seed) for seed in (0, 1)]
    names = ["hidden", "input", "logits", "fc1", "hidden"]
    found = list(capture(ir.from_proto(proto), names, batches))
    watched = models.mlp()
    watched.graph.output.extend([tensor(name, shape=["batch", 64]) for name in ("hidden", "fc1")])
    for batch, tensors in zip(batches, found, strict=True):
        logits, hidden, fc1 = reference(watched, batch)
        assert set(tensors) == {"hidden", "input", "logits", "fc1"}
        np.testing.assert_array_equal(tensors["input"], batch["input"])
        for name, truth in (("hidden", hidden), ("fc1", fc1), ("logits", logits)):
            np.testing.assert_allclose(tensors[name], truth, rtol=1e-5, atol=1e-6)


def test_one_batch_is_read_at_a_time():
    read = []

    def batches():
        for seed in range(3):
            read.append(seed)
            yield models.feeds(models.mlp(), 2, seed=seed)

    stream = capture(ir.from_proto(models.mlp()), ["hidden"], batches())
    assert read == []
    for count in range(1, 4):
        next(stream)
        assert len(read) == count


def test_the_graph_of_the_caller_is_not_changed():
    model = ir.from_proto(models.encoder())
    before = bytes_of(model)
    list(capture(model, ["normed1"], [models.feeds(models.encoder())]))
    assert bytes_of(model) == before


def test_inputs_alone_and_inputs_the_model_does_not_take():
    batch = models.feeds(models.mlp()) | {"extra": draw(1)}
    (found,) = capture(ir.from_proto(models.mlp()), ["input"], [batch])
    np.testing.assert_array_equal(found["input"], batch["input"])
    (found,) = capture(ir.from_proto(models.mlp()), ["fc1"], [batch])
    assert found["fc1"].shape == (4, 64)


def test_a_default_need_not_be_given():
    x = tensor("x", shape=["n", 3])
    nodes = [node("Add", ["x", "default"], "s"), node("Neg", ["s"], "y")]
    model = opened(nodes, [x, tensor("default", shape=[3])], ["y"], {"default": draw(3)})
    (found,) = capture(model, ["s"], [{"x": np.zeros((1, 3), np.float32)}])
    np.testing.assert_array_equal(found["s"], draw(1, 3))


def test_a_batch_the_model_cannot_take_is_an_error_of_the_model():
    wrong = {"input": draw(4, 15)}
    with pytest.raises(ModelError, match="dimension") as caught:
        list(capture(ir.from_proto(models.mlp()), ["fc1"], [wrong]))
    assert "calibration" in caught.value.where
