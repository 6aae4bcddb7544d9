from __future__ import annotations

import tempfile
import weakref

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from lissom.errors import RunError
from lissom.graph.capture import capture
from lissom.onnx_file import read_onnx, write_onnx
from tests import models
from tests.graph.small import bytes_of, draw, node, opened, proto, reference, run, tensor


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


def test_a_batch_the_model_cannot_take_is_told_with_its_shape():
    wrong = {"input": draw(4, 15)}
    with pytest.raises(RunError, match="Got: 15 Expected: 16") as caught:
        list(capture(ir.from_proto(models.mlp()), ["fc1"], [wrong]))
    assert caught.value.where == "the calibration data, with input [4, 15]"
    assert "ONNXRuntimeError" not in caught.value.what


def bare(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def weights_everywhere() -> onnx.ModelProto:
    """Weights in the graph, in a branch, read from a branch, of bfloat16, and read by nobody."""
    within = numpy_helper.from_array(draw(40, 40, seed=1), "within")
    then = helper.make_graph([node("MatMul", ["x", "w"], "t")], "then", [], [bare("t")])
    other = helper.make_graph(
        [node("MatMul", ["x", "within"], "e")], "other", [], [bare("e")], [within]
    )
    nodes = [
        node("ReduceSum", ["x"], "sum", keepdims=0),
        node("Cast", ["sum"], "which", to=TensorProto.BOOL),
        node("If", ["which"], "chosen", then_branch=then, else_branch=other),
        node("Cast", ["brain"], "wide", to=TensorProto.FLOAT),
        node("MatMul", ["chosen", "wide"], "narrow"),
        node("MatMul", ["narrow", "last"], "y"),
    ]
    weights = {
        name: draw(40, 40, seed=seed) for seed, name in enumerate(["w", "last", "unread"], 2)
    }
    found = proto(nodes, [tensor("x", shape=["n", 40])], [bare("y")], weights, check=False)
    brain = draw(40, 40, seed=5).astype(ml_dtypes.bfloat16)
    found.graph.initializer.append(ir.to_proto(ir.tensor(brain, name="brain")))
    return found


@pytest.mark.parametrize("inline_limit", [0, 10_000_000])
@pytest.mark.parametrize("external", [False, True])
def test_the_runtime_computes_the_same_bits_wherever_the_weights_are(
    inline_limit, external, tmp_path, monkeypatch
):
    made = weights_everywhere()
    names = ["chosen", "narrow", "y"]
    model = ir.from_proto(made)
    if external:
        write_onnx(model, tmp_path / "model.onnx", inline_limit=0)
        assert (tmp_path / "model.onnx.data").is_file()
        model = read_onnx(tmp_path / "model.onnx")
    folders = []
    original = tempfile.TemporaryDirectory
    monkeypatch.setattr(
        tempfile, "TemporaryDirectory", lambda **more: folders.append(1) or original(**more)
    )
    batches = [{"x": draw(3, 40, seed=6)}, {"x": np.zeros((2, 40), np.float32)}]
    found = list(capture(model, names, batches, inline_limit=inline_limit))
    assert len(folders) == (inline_limit == 0)
    made.graph.output.extend([bare("chosen"), bare("narrow")])
    for batch, tensors in zip(batches, found, strict=True):
        y, chosen, narrow = run(made, batch)
        for name, truth in {"y": y, "chosen": chosen, "narrow": narrow}.items():
            np.testing.assert_array_equal(tensors[name], truth)


def test_one_batch_of_tensors_is_alive_when_the_caller_drops_what_it_got():
    made = models.mlp()
    alive: list[weakref.ref] = []

    def batches():
        for seed in range(4):
            assert not [each for each in alive if each() is not None]
            yield models.feeds(made, 3, seed=seed)

    for tensors in capture(ir.from_proto(made), ["hidden", "fc1"], batches()):
        alive += [weakref.ref(array) for array in tensors.values()]
        tensors.clear()
    assert len(alive) == 8
