"""Where two networks can be compared, be their outputs labels or lists that differ in length."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnx import NodeProto, TensorProto

from lissom.graph.compared import compared
from tests.models import Weights, build, node, value


def network(ends: list[NodeProto], *outputs: onnx.ValueInfoProto) -> ir.Model:
    """Scores [batch, 6] of x [batch, 16], with what follows, its inner types not declared."""
    weights = Weights(0)
    weights.draw("hidden.weight", 16, 32, fan_in=16)
    weights.draw("scores.weight", 32, 6, fan_in=32)
    weights.keep("zero", 0.0)
    weights.keep("flat", [-1], "int64")
    weights.keep("three", [3], "int64")
    weights.keep("axis", [1], "int64")
    nodes = [
        node("MatMul", ["x", "hidden.weight"], "hidden"),
        node("MatMul", ["hidden", "scores.weight"], "scores"),
        *ends,
    ]
    inputs = [value("x", TensorProto.FLOAT, "batch", 16)]
    model = build("ends", nodes, inputs, value("scores", TensorProto.FLOAT, "n", 6), weights, 17)
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return ir.from_proto(model)


LABEL = value("label", TensorProto.INT64, "batch")
LIST = value("list", TensorProto.FLOAT, "found")
ARGMAX = [node("ArgMax", ["scores"], "label", axis=1, keepdims=0)]
CHOSEN = [
    node("Greater", ["scores", "zero"], "keep"),
    node("Reshape", ["keep", "flat"], "kept"),
    node("Reshape", ["scores", "flat"], "all"),
    node("Compress", ["all", "kept"], "list"),
]


@pytest.mark.parametrize(
    ("ends", "outputs", "found"),
    [
        ([], [value("scores", TensorProto.FLOAT, "batch", 6)], ["scores"]),
        (ARGMAX, [LABEL], ["scores"]),
        (
            [node("Softmax", ["scores"], "odds", axis=1), *ARGMAX],
            [LABEL, value("odds", TensorProto.FLOAT, "batch", 6)],
            ["odds"],
        ),
        (
            [
                NodeProto(op_type="TopK", input=["scores", "three"], output=["best", "places"]),
                node("Cast", ["places"], "label", to=TensorProto.INT32),
            ],
            [value("label", TensorProto.INT32, "batch", 3)],
            ["scores"],
        ),
        # What is chosen among, not what the choice is made by.
        (CHOSEN, [LIST], ["all", "scores"]),
        ([*CHOSEN, *ARGMAX], [LIST, value("scores", TensorProto.FLOAT, "batch", 6)], ["scores"]),
        # Inner lists that differ in length do no harm where what comes of them has a fixed size.
        (
            [*CHOSEN, node("ReduceMean", ["list"], "mean", keepdims=1)],
            [value("mean", TensorProto.FLOAT, 1)],
            ["mean"],
        ),
        ([node("Shape", ["scores"], "label")], [value("label", TensorProto.INT64, 2)], []),
    ],
)
def test_labels_and_lists_stand_for_what_they_are_made_of(ends, outputs, found) -> None:
    assert compared(network(ends, *outputs)) == found
