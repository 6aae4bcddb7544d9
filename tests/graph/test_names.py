from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lissom.graph.names import name_nodes
from lissom.graph.optimize import Optimize, optimize
from lissom.quantize.formats import layers_of
from lissom.technique import Context
from tests import models
from tests.graph.small import draw, node, opened, run, tensor


def without_names(model: ir.Model, *kept: int) -> ir.Model:
    for place, each in enumerate(model.graph):
        if place not in kept:
            each.name = ""
    return model


def test_layers_keep_what_they_are_called_by_and_all_names_differ():
    named = ir.from_proto(models.depthwise())
    model = without_names(ir.from_proto(models.depthwise()), 1)
    model = optimize(model, Optimize(), Context())
    plain = optimize(named, Optimize(), Context())
    # What a recipe calls a layer without a name is the same before and after.
    nameless = without_names(plain.clone())
    called = [layer.name for layer in layers_of(nameless)]
    assert [layer.name for layer in layers_of(model)] == called
    names = [each.name for each in model.graph]
    assert all(names) and len(set(names)) == len(names)
    feeds = models.feeds(models.depthwise(), 2)
    for found, wanted in zip(run(model, feeds), run(plain, feeds), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_name_that_is_there_is_taken_by_nobody_else():
    nodes = [
        node("MatMul", ["x", "w"], "product"),
        node("Add", ["product", "b"], "sum"),
        node("Relu", ["sum"], "active"),
        node("Sigmoid", ["active"], "active_2"),
        node("Neg", ["active_2"], "y"),
    ]
    constants = {"w": draw(4, 4), "b": draw(4)}
    model = opened(nodes, [tensor("x", shape=["n", 4])], ["y"], constants)
    without_names(model)
    model.graph[4].name = "sum"
    name_nodes(model.graph)
    # The product ends with its activation; "active_2" is another's result.
    assert [each.name for each in model.graph] == ["active", "sum_2", "active_3", "active_2", "sum"]
    before = [each.name for each in model.graph]
    name_nodes(model.graph)
    assert [each.name for each in model.graph] == before
