from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lissom.graph.capture import capture
from lissom.quantize import replay
from lissom.quantize.replay import Replay
from tests import models
from tests.graph.small import FLAG, branching, draw, node, opened, tensor

STRETCHES = [["stem"], ["depth.normed", "stem"], ["logits"]]


@pytest.mark.parametrize("most", [0, 1 << 30])
def test_stretches_give_what_a_whole_run_gives(most):
    model = ir.from_proto(models.depthwise())
    batches = [models.feeds(models.depthwise(), 2, seed=seed) for seed in (0, 1)]
    whole = list(capture(model, ["stem", "depth.normed", "logits"], batches))
    for names, found in zip(STRETCHES, Replay(model, STRETCHES, batches, most=most), strict=True):
        for truth, tensors in zip(whole, found, strict=True):
            assert set(tensors) == set(names)
            for name in names:
                np.testing.assert_allclose(tensors[name], truth[name], rtol=1e-4, atol=1e-5)


def test_nothing_is_computed_twice_where_there_is_room(monkeypatch):
    ran = []

    def counted(part, *arguments, **more):
        ran.append([each.name for each in part.graph])
        return capture(part, *arguments, **more)

    monkeypatch.setattr(replay, "capture", counted)
    model = ir.from_proto(models.depthwise())
    batches = [models.feeds(models.depthwise(), 2)]
    for stretch in Replay(model, STRETCHES, batches):
        list(stretch)
    names = [name for part in ran for name in part]
    assert sorted(names) == sorted(each.name for each in model.graph)
    ran.clear()
    for stretch in Replay(model, STRETCHES, batches, most=0):
        list(stretch)
    assert [len(part) for part in ran] == [1, 5, 11]


def test_a_later_stretch_sees_what_was_changed_behind_an_earlier_one():
    nodes = [node("MatMul", ["x", "w"], "a"), node("MatMul", ["a", "v"], "b")]
    constants = {"w": draw(4, 4), "v": draw(4, 4, seed=1)}
    model = opened(nodes, [tensor("x", shape=["n", 4])], ["b"], constants)
    x = draw(3, 4, seed=2)
    first, second = iter(Replay(model, [["a"], ["b"]], [{"x": x}]))
    (found,) = first
    twice = model.graph.initializers["v"]
    twice.const_value = ir.tensor(2 * constants["v"], name="v")
    (after,) = second
    np.testing.assert_allclose(after["b"], found["a"] @ (2 * constants["v"]), rtol=1e-5)


def test_what_only_the_body_of_a_branch_reads_is_kept():
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        branching([node("Neg", ["a"], "b_then")], [node("Abs", ["a"], "b_else")], "b"),
        node("Exp", ["b"], "c"),
    ]
    inputs = [tensor("x", shape=["n", 4]), FLAG]
    model = opened(nodes, inputs, [tensor("c", shape=None)], {"w": draw(4, 4)})
    feeds = {"x": draw(3, 4, seed=2), "flag": np.array(True)}
    first, second = iter(Replay(model, [["a"], ["c"]], [feeds]))
    (found,) = first
    (after,) = second
    np.testing.assert_allclose(after["c"], np.exp(-found["a"]), rtol=1e-5)
