"""OpenVINO's means in whole microseconds, taken apart: what was put in comes out."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from lissom.targets import openvino_clock as module
from lissom.targets.kernels import Kernel
from lissom.targets.openvino_clock import Counted, Executed, OpenVinoClock, _graph

# Microseconds.
TRUE = np.append(np.geomspace(2.3, 23.7, 30), 0.0)


class Counter:
    """A compiled file whose clock keeps means in whole microseconds, on a busy machine."""

    def __init__(self, scale: float = 1.0, seed: int = 0, *, busy: bool = True) -> None:
        self.rng, self.true = np.random.default_rng(seed), scale * TRUE
        # Once in three milliseconds somebody else computes for three.
        self.often = self.true.sum() / 3000 * busy
        self.total, self.runs = np.zeros(len(TRUE)), 0

    def run(self) -> None:
        self.runs += 1
        taken = self.true * self.rng.normal(1.0, 0.02, len(TRUE))
        if self.runs == 1:
            taken *= 20
        for _ in range(self.rng.poisson(self.often)):
            taken[self.rng.choice(len(TRUE), p=TRUE / TRUE.sum())] += 3000.0
        self.total += np.floor(taken)

    def repeated(self, feeds: Any) -> Any:
        return self.run

    def profile(self) -> list[Any]:
        means = (self.total / self.runs).astype(int)
        return [
            SimpleNamespace(node_name=f"k{at}", real_time=timedelta(microseconds=int(mean)))
            for at, mean in enumerate(means)
        ] + [SimpleNamespace(node_name="fused", real_time=timedelta())]


@pytest.fixture
def no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [Executed(f"k{at}", "Convolution", (), ()) for at in range(len(TRUE))]
    monkeypatch.setattr(module, "_executed", lambda opened: kernels)


def opened(counter: Any, turns: int) -> Counted:
    found = Counted(counter)
    for _ in range(turns):
        found.turn({})
    return found


@pytest.mark.parametrize(("scale", "turns"), [(1.0, 12), (20.0, 4)])
def test_times_of_kernels_come_out_of_rounded_and_disturbed_means(
    no_graph: None, scale: float, turns: int
) -> None:
    every = [Counter(scale, seed) for seed in range(6)]
    clocks = [opened(each, turns) for each in every]
    found = 1e3 * OpenVinoClock().settled([each.taken() for each in clocks])
    assert found.shape == (6, len(TRUE))
    # About half a microsecond is cut off everywhere, which scaling to whole runs makes good.
    assert found[0] == pytest.approx(scale * TRUE, rel=0.05, abs=1.5)
    assert (found[0] / scale - TRUE)[:-1].std() < 0.3
    # What the clock itself says is off by what others computed.
    plain = [each.total / each.runs / scale - TRUE for each in every]
    assert min(each.std() for each in plain) > 1.5
    assert max(each.runs for each in every) < 2 * module.MOST


def test_small_kernels_need_longer_stretches(no_graph: None) -> None:
    fast = opened(Counter(busy=False), 8)
    assert [runs for runs, _ in fast.counts] == [5, 10, 20, 40, 80, 160]
    slow = opened(Counter(1e4, busy=False), 3)
    assert [runs for runs, _ in slow.counts] == [5, *range(10, 16)]


def test_a_single_turn_is_taken_as_it_is(no_graph: None) -> None:
    assert opened(Counter(), 1).taken().shape == (1, len(TRUE))


def test_kernels_are_told_by_the_nodes_they_came_from() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["xq"], "quantize"),
        helper.make_node("DequantizeLinear", ["xq", "s"], ["xd"], "dequantize"),
        helper.make_node("Conv", ["xd", "w"], ["a"], "one"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Add", ["b", "x"], ["y"], ""),
    ]
    executed = [
        Executed("x", "Input", ("x",), ()),
        Executed("w", "Const", ("w",), ()),
        Executed("Reshape_1", "Reshape", ("Reshape_1",), ("w",)),
        Executed("quantize", "FakeQuantize", ("quantize", "dequantize"), ("x",)),
        Executed("x_abcd_acdb", "Reorder", ("",), ("quantize",)),
        Executed("one/B", "Convolution", ("Mul_7", "relu", "one"), ("x_abcd_acdb", "Reshape_1")),
        Executed("Add_3", "Subgraph", ("y",), ("one/B", "x")),
        Executed("Mul_9", "Eltwise", ("Mul_9",), ("Add_3",)),
    ]
    kernels, constants = _graph(executed, nodes)
    assert constants == {"w", "Reshape_1"}
    assert kernels[3:] == (
        Kernel("quantize", "QuantizeLinear", ("x",), ("quantize", "xq")),
        Kernel("x_abcd_acdb", "ReorderInput", ("quantize",), ("x_abcd_acdb",)),
        Kernel("one", "Conv", ("x_abcd_acdb",), ("one/B", "a")),
        # A node without a name is told by its result.
        Kernel("Add_3", "Add", ("one/B", "x"), ("Add_3", "y")),
        Kernel("Mul_9", "Eltwise", ("Add_3",), ("Mul_9",)),
    )
