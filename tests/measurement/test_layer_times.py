"""Times by layer, from made-up times of kernels as ONNX Runtime writes them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from lissom.measurement.fused_layers import groups, links
from lissom.measurement.kernel_clock import Timed
from lissom.measurement.layer_times import LayerTimes, layer_times, owners
from lissom.targets.kernels import Kernel


def graph(*nodes: tuple[str, str, list[str], str]) -> onnx.GraphProto:
    """Nodes as name, operator, inputs and output."""
    made = [helper.make_node(kind, read, [gives], name) for name, kind, read, gives in nodes]
    return helper.make_graph(made, "test", [], [])


def timed(*kernels: tuple[float, str, str, list[str], str], constants: str = "") -> Timed:
    """Kernels as milliseconds, name, operator, inputs and output; opened twice."""
    times = np.array([[kernel[0] for kernel in kernels]] * 2)
    return Timed(
        tuple(Kernel(name, kind, tuple(read), (gives,)) for _, name, kind, read, gives in kernels),
        frozenset(constants.split()),
        times,
        times.sum(axis=1),
    )


BLOCK = graph(
    ("one", "Conv", ["x", "w1"], "a"),
    ("relu", "Relu", ["a"], "b"),
    ("two", "Conv", ["b", "w2"], "c"),
    ("join", "Add", ["c", "b"], "d"),
    ("turn", "Transpose", ["d"], "e"),
    ("last", "MatMul", ["e", "w3"], "y"),
)
ROOTS = {"a": "one", "b": "one", "c": "two", "d": "join", "y": "last"}
LAYERS = ["one", "two", "join", "last"]


@pytest.fixture
def floats() -> LayerTimes:
    """The block as convolutions in blocked layouts, the second of which adds the shortcut."""
    return layer_times(
        timed(
            (1.0, "ReorderInput", "ReorderInput", ["x"], "r0"),
            (8.0, "b_nchwc", "Conv", ["r0", "w1_b"], "r1"),
            (6.0, "c_nchwc", "Conv", ["r1", "w2_b", "bias", "r1"], "r2"),
            (2.0, "ReorderOutput_token_3", "ReorderOutput", ["r2"], "d"),
            (0.5, "turn", "Transpose", ["d"], "e"),
            (4.0, "last", "MatMul", ["e", "w3"], "y"),
            constants="w1_b w2_b w3 bias",
        ),
        owners(BLOCK, ROOTS),
    )


@pytest.fixture
def codes() -> LayerTimes:
    """The block with an integer convolution, one that did not fuse, and an integer addition."""
    written = graph(
        ("q", "QuantizeLinear", ["x"], "xq"),
        ("dq", "DequantizeLinear", ["xq"], "xd"),
        ("one", "Conv", ["xd", "w1d"], "a"),
        ("relu", "Relu", ["a"], "b"),
        ("bq", "QuantizeLinear", ["b"], "b_q"),
        ("bd", "DequantizeLinear", ["b_q"], "b_dq"),
        ("w2d", "DequantizeLinear", ["w2_q"], "w2_dq"),
        ("two", "Conv", ["b_dq", "w2_dq"], "c"),
        ("cq", "QuantizeLinear", ["c"], "c_q"),
        ("cd", "DequantizeLinear", ["c_q"], "c_dq"),
        ("join", "Add", ["c_dq", "b_dq"], "d"),
        ("dq2", "QuantizeLinear", ["d"], "d_q"),
        ("turn", "Transpose", ["d_q"], "e_q"),
        ("ed", "DequantizeLinear", ["e_q"], "e"),
        ("last", "MatMul", ["e", "w3"], "y"),
    )
    roots = ROOTS | {"b_q": "one", "b_dq": "one", "c_q": "two", "c_dq": "two", "d_q": "join"}
    return layer_times(
        timed(
            (0.5, "q", "QuantizeLinear", ["x"], "xq"),
            (0.25, "Transpose", "Transpose", ["xq"], "t0"),
            (3.0, "one_token_2", "QLinearConv", ["t0", "w1q"], "b_q"),
            (1.0, "bd", "DequantizeLinear", ["b_q"], "b_dq"),
            (1.5, "w2d", "DequantizeLinear", ["w2_q"], "w2_dq"),
            (6.0, "c_nchwc", "Conv", ["b_dq", "w2_dq"], "c"),
            (0.75, "cq", "QuantizeLinear", ["c"], "c_q"),
            (2.0, "join", "QLinearAdd", ["c_q", "b_q"], "d_q"),
            (0.5, "turn", "Transpose", ["d_q"], "e_q"),
            (0.3, "ed", "DequantizeLinear", ["e_q"], "e"),
            (4.0, "last", "MatMul", ["e", "w3"], "y"),
            constants="w1q w2_q w3",
        ),
        owners(written, roots),
    )


def test_kernels_in_other_layouts_belong_to_the_layer_whose_tensor_they_are_called_after(
    floats: LayerTimes,
) -> None:
    assert {name: time[0] for name, time in floats.layers.items()} == {
        "one": 8.0,
        "two": 6.0,
        "last": 4.0,
    }
    assert {edge: time[0] for edge, time in floats.edges.items()} == {
        (None, "one"): 1.0,
        ("two", "last"): 2.0,
    }
    assert floats.rest[0] == 0.5
    assert floats.adding == {"two"}


def test_conversions_belong_to_edges_and_those_of_weights_to_their_layer(
    codes: LayerTimes,
) -> None:
    assert {name: time[0] for name, time in codes.layers.items()} == {
        "one": 3.0,
        "two": 7.5,
        "join": 2.0,
        "last": 4.0,
    }
    assert codes.dequantized["two"][0] == 1.5
    assert {edge: time[0] for edge, time in codes.edges.items()} == {
        (None, "one"): 0.75,
        ("one", "two"): 1.0,
        ("two", "join"): 0.75,
        ("join", "last"): 0.3,
    }
    parts = [*codes.layers.values(), *codes.edges.values(), codes.rest]
    assert sum(part[0] for part in parts) == pytest.approx(codes.whole[0])


def test_an_addition_inside_of_a_convolution_is_compared_with_it(
    floats: LayerTimes, codes: LayerTimes
) -> None:
    before = links(BLOCK, owners(BLOCK, ROOTS), ROOTS)
    assert before == {"one": [], "two": ["one"], "join": ["one", "two"], "last": ["join"]}
    found = groups(LAYERS, before, (floats, codes))
    assert found == {"one": ("one",), "two": ("two", "join"), "join": ("two", "join")} | {
        "last": ("last",)
    }


def test_what_went_into_the_kernel_behind_it_is_compared_with_that() -> None:
    """Three operators of which one file makes one kernel that is called after the last."""
    none = np.zeros(2)

    def side(*layers: str) -> LayerTimes:
        return LayerTimes(dict.fromkeys(layers, none), {}, {}, none, {}, frozenset(), np.zeros(2))

    before = {"product": [], "erf": ["product"], "half": ["erf"], "next": ["half"]}
    fused, apart = side("product", "half", "next"), side(*before)
    found = groups(before, before, (fused, apart))
    assert found["erf"] == ("erf", "half") == found["half"]
    assert found["product"] == ("product",)
