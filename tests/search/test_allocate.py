from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from lissom.errors import RequestError
from lissom.search import integer_program
from lissom.search.allocate import allocate, front
from lissom.tables import (
    FORMATS,
    Allocation,
    Change,
    LatencyTable,
    LayerSensitivity,
    Sensitivity,
    SizeTable,
)


def instance(layers: int, formats: int, seed: int) -> tuple[Sensitivity, SizeTable, LatencyTable]:
    """Random tables with a chain of tensors between the layers, one of which three layers share."""
    rng = np.random.default_rng(seed)
    names = [f"layer{number}" for number in range(layers)]
    forms = ["float32", "w8a8", "w4a8", "w4", "w2a8", *FORMATS[1:]]
    forms = list(dict.fromkeys(forms))[:formats]
    measured, sizes, times = [], {}, {}
    for name in names:
        weights = int(rng.integers(1000, 100_000))
        scale = float(np.exp(rng.normal() * 2)) * 1e-3
        mine = [f for f in forms if f == "float32" or rng.random() < 0.9]
        errors = {f: scale * 4.0 ** forms.index(f) for f in mine if f != "float32"}
        sizes[name] = {f: weights * 4 // (1 + forms.index(f)) for f in mine}
        times[name] = {f: float(rng.uniform(0.1, 1.0)) for f in mine}
        measured.append(LayerSensitivity(name=name, op_type="Conv", weights=weights, errors=errors))
    ends = [None, *names, None]
    changes = [
        Change(tensor=f"t{at}", before=one, after=other, ms=float(rng.uniform(0.0, 0.3)))
        for at, (one, other) in enumerate(itertools.pairwise(ends))
    ]
    for number in range(2, min(4, layers)):
        changes.append(Change(tensor="t1", before=names[0], after=names[number], ms=0.2))
    return (
        Sensitivity(
            model="sha256:0", data="sha256:1", samples=8, formats=tuple(forms[1:]),
            layers=tuple(measured),
        ),
        SizeTable(layers={**sizes, "other": {"float32": 500}}, rest=1000),
        LatencyTable(
            target="t", machine="m", threads=1, feeds="f", layers=times, changes=tuple(changes),
            rest=0.3,
        ),
    )  # fmt: skip


def every(tables) -> list[Allocation]:
    """All allocations there are, with what the tables predict."""
    errors, sizes, times = tables
    names = [layer.name for layer in errors.layers]
    choices = [("float32", *layer.errors) for layer in errors.layers]
    found = []
    for forms in itertools.product(*choices):
        plain = Allocation(formats=dict(zip(names, forms, strict=True)))
        made = {
            "error": errors.predict(plain),
            "bytes": sizes.predict(plain),
            "ms": times.predict(plain),
        }
        found.append(plain.model_copy(update=made))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_best_of_all(seed):
    tables = instance(5, 4, seed)
    all_of_them = every(tables)
    rng = np.random.default_rng(seed)
    for kind in ("bytes", "ms", "both"):
        one = all_of_them[int(rng.integers(len(all_of_them)))]
        limits = {"most_bytes": one.bytes, "most_ms": one.ms}
        limits = limits if kind == "both" else {f"most_{kind}": limits[f"most_{kind}"]}
        inside = [
            each for each in all_of_them
            if each.bytes <= limits.get("most_bytes", np.inf)
            and each.ms <= limits.get("most_ms", np.inf) * (1 + 1e-9)
        ]  # fmt: skip
        best = min(each.error for each in inside)
        found = allocate(*tables, **limits)
        assert found.error == pytest.approx(best, rel=1e-5, abs=1e-12)
        assert found.bytes <= limits.get("most_bytes", np.inf)
        assert found in all_of_them


def test_without_limits_nothing_is_quantized():
    found = allocate(*instance(4, 4, 0))
    assert set(found.formats.values()) == {"float32"} and found.error == 0.0


def test_changes_between_codes_and_floats_are_paid_for_once_each_tensor():
    errors = Sensitivity(
        model="m", data="d", samples=1, formats=("w8a8",),
        layers=tuple(
            LayerSensitivity(name=name, op_type="Conv", weights=1, errors={"w8a8": error})
            for name, error in (("a", 1.0), ("b", 3.0), ("c", 1.1))
        ),
    )  # fmt: skip
    times = LatencyTable(
        target="t", machine="m", threads=1, feeds="f",
        layers={name: {"float32": 2.0, "w8a8": 1.0} for name in "abc"},
        changes=(
            Change(tensor="x", before="a", after="b", ms=0.7),
            Change(tensor="y", before="b", after="c", ms=0.7),
        ),
    )  # fmt: skip
    # On its own each layer gains 1 ms and pays for its edges; side by side they pay less.
    assert allocate(errors, None, times, most_ms=5.8).formats == {
        "a": "w8a8", "b": "float32", "c": "float32",
    }  # fmt: skip
    # a and c together gain 2 ms and pay 1.4; all three gain 3 ms and pay nothing.
    found = allocate(errors, None, times, most_ms=5.0)
    assert found.formats == {"a": "w8a8", "b": "w8a8", "c": "float32"}
    assert found.ms == pytest.approx(4.7)
    assert allocate(errors, None, times, most_ms=3.5).error == pytest.approx(5.1)


def test_layers_of_one_weight_have_one_format():
    errors, sizes, _ = instance(6, 4, 3)
    tied = [("layer0", "layer3"), ("layer3", "layer5")]
    loose = allocate(errors, sizes, most_bytes=900_000)
    found = allocate(errors, sizes, most_bytes=900_000, tied=tied)
    assert len({found.formats[name] for name in ("layer0", "layer3", "layer5")}) == 1
    assert len({loose.formats[name] for name in ("layer0", "layer3", "layer5")}) > 1
    inside = [
        each for each in every(instance(6, 4, 3))
        if each.bytes <= 900_000
        and len({each.formats[name] for name in ("layer0", "layer3", "layer5")}) == 1
    ]  # fmt: skip
    assert found.error == pytest.approx(min(each.error for each in inside), rel=1e-5)


def test_what_cannot_be_says_what_can():
    tables = instance(4, 4, 1)
    least = min(each.bytes for each in every(tables))
    fastest = min(each.ms for each in every(tables))
    with pytest.raises(RequestError) as refused:
        allocate(*tables, most_bytes=least - 1)
    assert f"the fewest bytes are {least:,}" in str(refused.value)
    assert allocate(*tables, most_bytes=least).bytes == least
    with pytest.raises(RequestError, match=f"the least latency is {fastest:.4g} ms"):
        allocate(*tables, most_ms=fastest * 0.99)
    beside = min(each.ms for each in every(tables) if each.bytes == least)
    if beside > fastest * 1.01:
        with pytest.raises(RequestError, match=f"a run takes {beside:.4g} ms at least"):
            allocate(*tables, most_bytes=least, most_ms=fastest)
    with pytest.raises(RequestError, match="needs the table of bytes"):
        allocate(tables[0], None, tables[2], most_bytes=10)


@pytest.mark.parametrize("cost", ["bytes", "ms"])
def test_the_front_is_all_that_nothing_beats(cost):
    errors, sizes, times = tables = instance(4, 4, 2)
    points = sorted({(getattr(each, cost), each.error) for each in every(tables)})
    wanted: list[tuple[float, float]] = []
    for point in points:
        # Beyond what the solver tells apart.
        if not wanted or point[1] < wanted[-1][1] * (1 - 1e-5):
            wanted.append(point)
    given = (errors, sizes) if cost == "bytes" else (errors, None, times)
    found = front(*given, limits=None)
    assert [getattr(each, cost) for each in reversed(found)] == pytest.approx(
        [point[0] for point in wanted]
    )
    assert [each.error for each in reversed(found)] == pytest.approx(
        [point[1] for point in wanted], rel=1e-5
    )
    few = front(*given, limits=6)
    assert 2 <= len(few) <= 7 and {each.error for each in few} <= {each.error for each in found}
    assert few[0].error == 0.0 and getattr(few[-1], cost) == pytest.approx(wanted[0][0])


def test_a_front_needs_a_cost():
    with pytest.raises(RequestError, match="a table of sizes or of latencies"):
        front(instance(3, 3, 0)[0])


def test_a_hundred_layers_in_eight_formats_take_seconds():
    tables = instance(100, 8, 4)
    whole = allocate(*tables)
    start = time.perf_counter()
    found = allocate(*tables, most_bytes=whole.bytes // 4, most_ms=whole.ms * 0.8)
    assert time.perf_counter() - start < 10
    assert found.bytes <= whole.bytes // 4 and found.ms <= whole.ms * 0.8


def test_the_same_answer_twice_and_nothing_on_stdout(capfd):
    tables = instance(30, 8, 4)
    whole = allocate(*tables)
    one, other = (allocate(*tables, most_bytes=whole.bytes // 3) for _ in range(2))
    assert one == other and front(*tables[:2], limits=8) == front(*tables[:2], limits=8)
    assert capfd.readouterr().out == ""


def test_an_error_that_is_no_number_is_no_choice():
    known = {"w8a8": np.nan, "w4a8": np.inf, "w3a8": 2}
    layer = LayerSensitivity(name="a", op_type="Conv", weights=9, errors=known)
    errors = Sensitivity(model="m", data="d", samples=1, formats=tuple(known), layers=(layer,))
    sizes = SizeTable(layers={"a": {"float32": 40, "w8a8": 10, "w4a8": 5, "w3a8": 4}}, rest=0)
    assert allocate(errors, sizes, most_bytes=20).formats == {"a": "w3a8"}


def test_tables_of_no_layer_are_refused():
    errors = Sensitivity(model="m", data="d", samples=1, formats=(), layers=())
    with pytest.raises(RequestError, match="knows no layer"):
        allocate(errors, SizeTable(layers={}, rest=5), most_bytes=10)


def test_a_solver_without_an_answer_in_time_does_not_say_that_there_is_none(monkeypatch):
    errors, sizes, _ = instance(60, 8, 4)
    whole = allocate(errors, sizes).bytes
    monkeypatch.setattr(integer_program, "SECONDS", 1e-9)
    with pytest.raises(RequestError, match="was found in 1e-09 s"):
        allocate(errors, sizes, most_bytes=whole // 3)
