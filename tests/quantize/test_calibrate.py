from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pydantic
import pytest

from lissom.batches import Batches
from lissom.errors import ModelError, RequestError
from lissom.graph.optimize import Optimize, optimize
from lissom.quantize.calibrate import Calibration, calibrate, codes_for
from lissom.quantize.placement import place
from lissom.quantize.static import Static, static
from lissom.technique import Context
from tests import models
from tests.graph.small import checked, draw, node, opened, ops, reference, run, tensor

X = draw(60, 8, seed=1)
NODES = [
    node("MatMul", ["x", "w"], "a"),
    node("Relu", ["a"], "r"),
    node("MatMul", ["r", "v"], "b"),
    node("MatMul", ["b", "u"], "y"),
]
WEIGHTS = {"w": draw(8, 8), "v": draw(8, 8, seed=2), "u": draw(8, 3, seed=3)}


def model() -> ir.Model:
    return opened(NODES, [tensor("x", shape=["n", 8])], ["y"], WEIGHTS)


def found(feeds=None, **settings):
    graph = model()
    batches = Batches.of([{"x": X}] if feeds is None else feeds)
    grids = calibrate(graph, place(graph.graph), Calibration(**settings), batches)
    return {value.name: grid for value, grid in grids.items()}


def ends(grid) -> tuple[float, float]:
    info = np.iinfo(grid.zero_point.dtype)
    zero = int(grid.zero_point)
    return (info.min - zero) * float(grid.scale), (info.max - zero) * float(grid.scale)


def test_extremes_are_those_of_the_float_graph_over_all_batches():
    r = np.maximum(X @ WEIGHTS["w"], 0)
    for name, truth in {"x": X, "r": r, "b": r @ WEIGHTS["v"]}.items():
        for feeds in (None, [{"x": X[:50]}, {"x": X[50:]}]):
            low, high = ends(found(feeds, observer="minmax")[name])
            step = (high - low) / 255
            assert low == pytest.approx(min(truth.min(), 0), abs=step)
            assert high == pytest.approx(truth.max(), abs=step)


@pytest.mark.parametrize("observer", ["auto", "minmax", "percentile", "mse", "entropy"])
def test_symmetric_int8_has_zero_in_the_middle_and_asymmetric_int8_is_uint8_moved(observer):
    plain = found(observer=observer)
    moved = found(observer=observer, activations="int8")
    middle = found(observer=observer, activations="int8", symmetric=True)
    unsigned = found(observer=observer, symmetric=True)
    for name, grid in plain.items():
        assert moved[name].scale == grid.scale
        assert int(moved[name].zero_point) == int(grid.zero_point) - 128
        assert middle[name].zero_point == 0
        assert middle[name].zero_point.dtype == np.int8
        assert unsigned[name].zero_point == 128
        assert middle[name].scale == unsigned[name].scale


@pytest.mark.parametrize("observer", ["auto", "minmax"])
@pytest.mark.parametrize(
    ("settings", "relus"),
    [
        ({"activations": "int8"}, 0),
        ({"activations": "int8", "symmetric": True}, 1),
        ({"symmetric": True}, 1),
    ],
)
def test_other_codes_keep_the_answers(observer, settings, relus):
    """A Relu may go only where the lowest code is zero."""
    truth = reference(model(), {"x": X})[0]
    context = Context(calibration=Batches.of([{"x": X}]))
    quantized = checked(static(model(), Static(observer=observer, **settings), context))
    assert ops(quantized).count("Relu") == relus
    error = run(quantized, {"x": X})[0] - truth
    assert np.sqrt((error**2).mean() / (truth**2).mean()) < 0.03


@pytest.mark.parametrize("match", ["v", "r", "*/Relu", "b/*"])
def test_layers_are_set_apart_by_any_of_their_names(match):
    plain = found(observer="minmax")
    apart = [{"match": match, "observer": "percentile", "percent": 60.0}]
    changed = found(observer="minmax", per_layer=apart)
    narrower = {name for name in plain if changed[name].scale < 0.9 * plain[name].scale}
    assert narrower == ({"r", "b"} if match in ("v", "b/*") else {"r"})


@pytest.mark.parametrize("match", ["flat", "t", "y/*", "last", "*/Flatten"])
def test_a_layer_behind_what_only_moves_values_sets_its_source_apart(match):
    nodes = [
        node("Conv", ["x", "kernel"], "a"),
        node("Transpose", ["a"], "t", perm=[0, 2, 3, 1]),
        node("Flatten", ["t"], "flat"),
        node("MatMul", ["flat", "last"], "y"),
    ]
    constants = {"kernel": draw(4, 4, 1, 1), "last": draw(16, 3)}
    image = draw(30, 4, 2, 2)
    scales = {}
    for apart in ([], [{"match": match, "observer": "percentile", "percent": 60.0}]):
        graph = opened(nodes, [tensor("x", shape=["n", 4, 2, 2])], ["y"], constants)
        config = Calibration(observer="minmax", per_layer=apart)
        grids = calibrate(graph, place(graph.graph), config, Batches.of([{"x": image}]))
        scales[bool(apart)] = {value.name: grid.scale for value, grid in grids.items()}
    changed = {name for name in scales[True] if scales[True][name] < 0.9 * scales[False][name]}
    assert changed == {"a", "t", "flat"}


def test_of_two_that_match_the_last_counts_and_what_it_leaves_open_stays():
    apart = [{"match": "*", "observer": "percentile", "percent": 60.0}]
    once = found(observer="minmax", per_layer=apart)
    twice = found(observer="minmax", per_layer=[*apart, {"match": "x", "percent": 100.0}])
    plain = found(observer="minmax")
    assert twice["x"] == plain["x"] != once["x"]
    assert twice["r"] == once["r"]


def test_globs_that_match_nothing_are_refused_with_names_that_are_there():
    proto = models.mlp()
    settings = Static(keep_float=["fc2.wight*"])
    context = Context(calibration=Batches.of([models.feeds(proto)]))
    with pytest.raises(RequestError, match=r"'fc2.wight\*' matches no layer") as caught:
        static(ir.from_proto(proto), settings, context)
    assert "fc2.weight" in caught.value.fix
    with pytest.raises(RequestError, match="'nowhere' matches no layer"):
        found(per_layer=[{"match": "nowhere", "observer": "mse"}])


def test_what_is_not_finite_is_told_by_name():
    broken = X.copy()
    broken[3, 4] = np.inf
    for observer in ("minmax", "auto"):
        with pytest.raises(ModelError, match="'[xr]' becomes NaN or infinite"):
            found([{"x": X}, {"x": broken}], observer=observer)


def test_settings_round_trip_and_wrong_ones_are_refused():
    config = Static(observer="mse", per_layer=[{"match": "a", "percent": 99.0}], symmetric=True)
    assert Static.model_validate(config.model_dump(mode="json")) == config
    for wrong in (
        {"observer": "max"},
        {"percent": 50.0},
        {"activations": "int4"},
        {"per_layer": [{"observer": "mse"}]},
        {"per_layer": [{"match": "a", "observer": "max"}]},
    ):
        with pytest.raises(pydantic.ValidationError):
            Static(**wrong)


def test_the_same_data_give_the_same_model():
    proto = models.depthwise()
    feeds = models.feeds(proto, 16)
    made = []
    for _ in range(2):
        graph = optimize(ir.from_proto(proto), Optimize(), Context())
        context = Context(calibration=Batches.of([feeds]))
        made.append(ir.to_proto(static(graph, Static(), context)).SerializeToString())
    assert made[0] == made[1]


def test_codes_of_a_range_without_width():
    assert codes_for(0.0, 0.0, "int8").zero_point == -128
    assert codes_for(0.0, 0.0, "uint8").zero_point == 0
