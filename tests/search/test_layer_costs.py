"""Times of layers and changes from made-up networks: what was put in comes out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import helper

from lissom.measurement.layer_times import LayerTimes
from lissom.search.layer_costs import Edge, Pattern, changes, edges, pattern, regions
from lissom.tables import Allocation, Format, LatencyTable

LAYERS = ("one", "two", "three", "four")
TIMES: dict[Format, tuple[float, ...]] = {
    "float32": (4.0, 8.0, 2.0, 6.0),
    "w8a8": (2.0, 3.0, 2.5, 1.0),
}
# A shortcut leads from the first layer to the third.
COSTS = {Edge("a", "one", "two"): 0.5, Edge("b", "two", "three"): 0.25} | {
    Edge("a", "one", "three"): 0.5,
    Edge("c", "three", "four"): 0.75,
}


def network(*codes: str) -> Pattern:
    """What these layers in codes, all others in floats, would take; changes with their reader."""
    given = Allocation(formats=dict.fromkeys(codes, "w8a8"))
    layers = {name: TIMES[given.of(name)][at] for at, name in enumerate(LAYERS)}
    for edge, cost in COSTS.items():
        if given.has_codes(edge.before) != given.has_codes(edge.after):
            layers[edge.after] += cost
    return Pattern(given, layers, 0.125)


@pytest.fixture
def table() -> LatencyTable:
    floats, codes = network(), network(*LAYERS)
    mixed = [network("one", "three"), network("two", "four")]
    mixed += [network("one", "two"), network("three", "four")]
    return LatencyTable(
        target="onnxruntime",
        machine="m",
        threads=1,
        feeds="f",
        layers={
            name: {"float32": floats.layers[name], "w8a8": codes.layers[name]} for name in LAYERS
        },
        changes=changes(tuple(COSTS), {"float32": floats, "w8a8": codes}, mixed),
        rest=floats.rest,
    )


def test_every_mix_is_foretold_but_for_changes_that_readers_share(table: LatencyTable) -> None:
    for count in range(5):
        for chosen in itertools.combinations(LAYERS, count):
            made = network(*chosen)
            whole = sum(made.layers.values()) + made.rest
            shared = {edge for edge in COSTS if edge.tensor == "a"}
            has = made.allocation.has_codes
            twice = all(has(edge.before) != has(edge.after) for edge in shared)
            # The tensor is converted once for both, here it was paid for twice.
            assert table.predict(made.allocation) == pytest.approx(whole - 0.5 * twice, rel=0.05)


def test_an_edge_that_changed_in_no_pattern_costs_what_its_tensor_costs_elsewhere() -> None:
    along = (*COSTS, Edge("a", "one", "four"), Edge("z", "two", "four"))
    uniform: dict[Format, Pattern] = {"float32": network(), "w8a8": network(*LAYERS)}
    found = {(each.before, each.after): each.ms for each in changes(along, uniform, [])}
    assert set(found.values()) == {0.0}
    found = {
        (each.before, each.after): each.ms
        for each in changes(along, uniform, [network("three", "four")])
    }
    assert found["two", "three"] == pytest.approx(0.375)
    assert found["three", "four"] == pytest.approx(found["one", "two"])


def test_what_got_faster_is_no_negative_cost() -> None:
    uniform: dict[Format, Pattern] = {"float32": network(), "w8a8": network(*LAYERS)}
    faster = network("one")
    less = Pattern(faster.allocation, dict.fromkeys(LAYERS, 0.1), 0.0)
    assert all(each.ms == 0 for each in changes(tuple(COSTS), uniform, [less]))


def test_what_follows_a_layer_is_of_its_region() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Conv", ["x", "w"], ["a"], "one"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "v"], ["c"], "two"),
        helper.make_node("Add", ["c", "b"], ["d"], "join"),
        helper.make_node("MatMul", ["d", "u"], ["y"], "three"),
    ]
    graph = helper.make_graph(nodes, "test", [], [])
    known = regions(graph, ("one", "two", "three"))
    assert known.nodes == {"shape": None, "one": "one", "relu": "one", "two": "two"} | {
        "join": "two",
        "three": "three",
    }
    assert edges(graph, known) == (
        Edge("b", "one", "two"),
        Edge("d", "two", "three"),
    )


def test_conversions_count_where_they_lead_and_disturbed_openings_do_not() -> None:
    calm = np.array([1.0, 1.0, 1.2, 4.0, 90.0])
    times = LayerTimes(
        {"one": calm, "two": 2 * calm},
        {},
        {("one", "two"): calm, ("two", None): calm, (None, None): calm},
        calm,
        {},
        frozenset(),
        7 * calm,
    )
    found = pattern(Allocation(formats={}), times)
    assert found.layers == {"one": 1.0, "two": 4.0}
    assert found.rest == 2.0
