"""Mixed precision in a search: what is built within limits and without, and what is told of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import onnx
import pytest
import yaml

import lissom
from lissom.errors import RequestError
from lissom.measurement.records import Settings
from lissom.model import open_model
from lissom.quantize.mixed import Mixed
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.report.front_chart import uniform_points
from lissom.report.mixed import MixedFile, MixedLayer
from lissom.report.mixed_words import counts, kept_wide, note, words_of
from lissom.report.page import render_page
from lissom.report.results import Row
from lissom.search import layer_tables, mixed
from lissom.search.attempts import Attempts
from lissom.search.budget import Budget
from lissom.search.candidates import BASELINE
from lissom.search.explore import search
from lissom.search.layer_tables import Tables
from lissom.search.mixed import Mixing, recipe_for
from lissom.search.ready import Found
from lissom.search.request import Request
from lissom.tables import (
    Allocation,
    Format,
    LatencyTable,
    LayerSensitivity,
    Sensitivity,
    SizeTable,
)
from lissom.task import Task
from tests import models

KEPT = ("quantize.static", "quantize.mixed")
WIDTHS = (24, 48, 48, 24)


def network() -> onnx.ModelProto:
    """Convolutions of different widths, the last of which is small and decides most."""
    weights = models.Weights(3)
    nodes, source, before = [], "images", 3
    for place, width in enumerate(WIDTHS):
        kernel = weights.draw(f"{place}.kernel", width, before, 3, 3, fan_in=9 * before)
        bias = weights.bias(f"{place}.bias", width)
        nodes.append(models.node("Conv", [source, kernel, bias], f"{place}.sum", pads=[1, 1, 1, 1]))
        nodes.append(models.node("Relu", [f"{place}.sum"], f"{place}"))
        source, before = str(place), width
    nodes.append(models.node("GlobalAveragePool", [source], "pooled"))
    nodes.append(models.node("Flatten", ["pooled"], "flat"))
    nodes += models.dense(weights, "logits", "flat", before, 10)
    inputs = [models.value("images", 1, "batch", 3, 8, 8)]
    output = models.value("logits", 1, "batch", 10)
    return models.build("network", nodes, inputs, output, weights, 21)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Task, Store]:
    folder = tmp_path_factory.mktemp("mixed")
    path = models.saved(network(), folder / "network.onnx")
    task = Task(
        calibration=models.feeds(network(), 32),
        validation=models.feeds(network(), 64, seed=1),
        metric="cosine",
    )
    return path, task, Store(folder / "store")


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch, instant: list[str]) -> None:
    monkeypatch.setattr(layer_tables, "TIMING", 0.02)


def found(given: tuple[Path, Task | None, Store], **request: Any) -> Found:
    path, task, store = given
    request = {"effort": "thorough", "techniques": KEPT, "objective": "size", **request}
    return search(open_model(path), task, Request(settings=Settings(seconds=0.1), **request), store)


def uniform(given: tuple[Path, Task, Store], result: Found, bits: int, folder: Path) -> Any:
    """The network in one width, measured."""
    step = Step(technique="quantize.static", config={"weight_bits": bits, "rounding": "learned"})
    recipe = Recipe(name=f"{bits} bits", steps=(*BASELINE.steps, step))
    settings = Settings(seconds=0.05, processes=1)
    path, task, _ = given
    row = lissom.run(recipe, path, task, folder=folder, settings=settings).results.rows[-1]
    assert row.measurement.quality is not None
    return row.measurement.footprint.bytes, row.measurement.quality.drop.value


def test_within_a_limit_layers_get_different_widths_and_it_is_told(
    given: tuple[Path, Task, Store], tmp_path: Path
) -> None:
    result = found(given, budget=Budget(size="23.5kB", drop="20pt"))
    results = result.results
    chosen = results.chosen
    assert chosen is not None
    assert chosen.name.startswith("mixed, ")
    assert chosen.measurement.footprint.bytes <= 23_500
    assert chosen.measurement.quality is not None
    # No single width keeps to the limit but the narrowest, which loses more.
    assert uniform(given, result, 3, tmp_path / "3")[0] > 23_500
    assert uniform(given, result, 2, tmp_path / "2")[1] > chosen.measurement.quality.drop.value
    file = next(each for each in results.mixed if each.row == chosen.name)
    formats = [layer.format for layer in file.layers]
    assert len(set(formats)) > 1
    # The recipe beside the file says the same of every layer, and builds it again.
    settings = result.recipes[chosen.name].steps[-1].settings()
    assert isinstance(settings, Mixed)
    told = {layer.name: settings.layers.get(layer.name, settings.default) for layer in file.layers}
    assert [told[layer.name] for layer in file.layers] == formats
    # What was predicted is what came out, more or less.
    assert file.bytes == chosen.measurement.footprint.bytes
    assert file.predicted_bytes == pytest.approx(file.bytes, rel=0.05)
    assert file.error is not None
    assert 0.2 < file.predicted_error / file.error < 5
    assert file.predicted_ms is not None
    assert file.predicted_ms > 0
    assert any(note.startswith(f"{chosen.name}: ") for note in results.notes)
    page = render_page(results)
    assert "Which layer got what, and why" in page
    front = results.predicted_front
    assert 5 < len(front) <= 16
    # The largest first; every smaller one is predicted to be worse, so that none beats another.
    assert all(one.bytes > next_.bytes for one, next_ in pairwise(front))
    assert all(one.error < next_.error for one, next_ in pairwise(front))
    # Nor is one beaten by a file's allocation, or by the network in one format.
    uniforms = uniform_points(file)
    assert {"w8a8", "w4a8", "w2a8"} <= set(uniforms)
    assert max(each.bytes for each in uniforms.values()) >= front[0].bytes
    # Its narrow end has every layer in its fewest bytes, its error on the scale of the files'.
    least = [min((each.bytes[form], e) for form, e in each.errors.items()) for each in file.layers]
    held = [(each.bytes[each.format], each.errors.get(each.format, 0.0)) for each in file.layers]
    saved = sum(size for size, _ in held) - sum(size for size, _ in least)
    grown = sum(error for _, error in least) / sum(error for _, error in held)
    assert front[-1].bytes == file.predicted_bytes - saved
    assert front[-1].error == pytest.approx(grown * file.predicted_error)
    told_of = [(each.predicted_bytes, each.predicted_error) for each in results.mixed]
    for size, error in (*told_of, *((each.bytes, each.error) for each in uniforms.values())):
        assert all(size > one.bytes or error > 0.999 * one.error for one in front)
    assert page.count("Predicted error against size") == 2
    for layer in file.layers:
        assert f"<bdi>{layer.module or layer.name}</bdi></th>" in page
    again = lissom.run(
        Recipe.model_validate(yaml.safe_load(result.recipes[chosen.name].to_yaml())),
        given[0], given[1], folder=tmp_path / "again", settings=Settings(seconds=0.05, processes=1),
    )  # fmt: skip
    assert again.artifacts[-1].path.read_bytes() == result.files[chosen.name].path.read_bytes()


def test_without_a_limit_smaller_files_are_looked_for_than_what_fits(
    given: tuple[Path, Task, Store],
) -> None:
    results = found(given, budget=Budget(drop="20pt")).results
    sizes = {row.name: row.measurement.footprint.bytes for row in results.rows}
    assert 1 <= len(results.mixed) <= 3
    assert all(each.bytes < sizes["int8 static, 4-bit weights"] for each in results.mixed)
    # Rows of the normal effort are all there.
    assert {"int8 static", "int8 static, learned", "int8 static, 4-bit weights"} < set(sizes)


def test_a_size_that_no_allocation_has_is_told_with_the_least_there_is(
    given: tuple[Path, Task, Store],
) -> None:
    results = found(given, budget=Budget(size="19kB", drop="20pt")).results
    why = {each.name: each.why for each in results.skipped}["mixed precision"]
    assert "no choice of formats is within 19,000 bytes" in why
    assert "the fewest bytes are" in why
    assert results.chosen is None
    # What sizes there are is in the record all the same; the page has no section for it.
    assert min(each.bytes for each in results.predicted_front) > 19_000
    assert "Predicted error against size" not in render_page(results)


def test_what_is_missing_for_mixed_precision_is_told(given: tuple[Path, Task, Store]) -> None:
    path, task, store = given
    few = Task(calibration=models.feeds(network(), 6), validation=task.validation, metric="cosine")
    cases: tuple[tuple[Task | None, tuple[str, ...], str], ...] = (
        (Task(calibration=task.calibration), (), "below 8 bits quality must be measured"),
        (None, (), "needs calibration data"),
        (few, KEPT, "on 8 calibration samples at least"),
        (task, ("quantize.static",), "left out by --technique"),
    )
    for task_, techniques, why in cases:
        results = found((path, task_, store), techniques=techniques).results
        assert why in {each.name: each.why for each in results.skipped}["mixed precision"]
        assert results.mixed == ()
        assert results.predicted_front == ()


def test_few_validation_samples_are_no_obstacle(given: tuple[Path, Task, Store]) -> None:
    path, task, store = given
    few = Task(
        calibration=task.calibration,
        validation=models.feeds(network(), 6, seed=1),
        metric="cosine",
    )
    results = found((path, few, store), budget=Budget(drop="20pt")).results
    assert "mixed precision" not in {each.name for each in results.skipped}
    assert results.mixed


def test_no_time_for_tables(given: tuple[Path, Task, Store], tmp_path: Path) -> None:
    path, task, _ = given
    results = found((path, task, Store(tmp_path / "store")), time=0.01).results
    late = {each.name: each for each in results.skipped}["mixed precision"]
    assert late.why.startswith("not begun: takes about")
    assert late.seconds is not None


def test_tables_that_are_finished_take_no_time(
    given: tuple[Path, Task, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    found(given, budget=Budget(size="23.5kB", drop="20pt"))
    monkeypatch.setattr(mixed, "TIMING", 1e6)
    again = found(given, budget=Budget(size="23.5kB", drop="20pt"), time="30s").results
    assert again.mixed


def test_mixed_precision_alone_and_asked_for_without_its_tables(
    given: tuple[Path, Task, Store],
) -> None:
    alone = ("quantize.mixed",)
    results = found(given, techniques=alone, budget=Budget(drop="20pt")).results
    assert all(row.name.startswith("mixed, ") for row in results.rows)
    assert len(results.rows) > 1
    with pytest.raises(RequestError, match="only tried with --effort thorough"):
        Request(techniques=alone)


SIZES = SizeTable(
    layers={name: {"float32": 40, "w8a8": 10, "w4a8": 5} for name in ("a", "b", "c")}, rest=100
)


def test_a_recipe_names_the_layers_that_differ_from_the_most() -> None:
    recipe = recipe_for(Allocation(formats={"a": "w4a8", "b": "w4a8"}), SIZES)
    assert recipe.name == "mixed, 150 B"
    assert recipe.steps[-1].config == {
        "default": "w4a8", "layers": {"c": "float32"}, "rounding": "learned",
    }  # fmt: skip


def layer(name: str, form: Format, worst: float) -> MixedLayer:
    return MixedLayer(
        name=name,
        op_type="Conv",
        weights=1000,
        format=form,
        bytes={"float32": 4000, "w8a8": 1100, "w4a8": 600},
        errors={"w8a8": worst / 100, "w4a8": worst},
    )


def test_the_words_say_how_many_which_are_wide_and_what_narrower_would_cost() -> None:
    layers = (layer("a", "w4a8", 0.001), layer("b", "w8a8", 0.1), layer("c", "w8a8", 0.2))
    file = MixedFile(
        row="mixed, 3 kB", layers=layers, predicted_error=0.004, predicted_bytes=2900,
        predicted_ms=1.0, error=0.005, bytes=3000, ms=1.1,
    )  # fmt: skip
    assert counts(file) == "2 layers w8a8, 1 w4a8"
    assert [each.name for each in kept_wide(file)] == ["c", "b"]
    told = note(file)
    assert "widest where it hurts most: c, b." in told
    assert "2.9 kB (measured 3.0 kB), an error of 0.4 % of " in told
    assert "the outputs' power (measured 0.5 %)" in told
    words = words_of(file)
    assert [each.share for each in words] == ["25.0%", "25.0%", "50.0%"]
    assert [each.narrower for each in words] == [
        "", "26 times the error in w4a8", "50 times the error in w4a8",
    ]  # fmt: skip
    assert [each.wide for each in words] == [False, True, True]


@pytest.mark.parametrize(
    ("worst", "told"),
    [
        (0.0, "-5.0%"),  # sums of errors are estimates: fewer bits may look better
        (0.02003, "hardly more"),
        (0.065, "+11.2%"),
        (0.4199, "+100.0%"),
        (0.421, "2.0 times the error"),
        (4.0, "11 times the error"),
        (3.58, "9.9 times the error"),
        (5000.0, "13,000 times the error"),
    ],
)
def test_an_error_that_multiplies_is_told_as_a_multiple(worst: float, told: str) -> None:
    one = layer("a", "w8a8", 0.0)
    errors: dict[Format, float] = {"w8a8": 0.02, "w4a8": worst}
    other = layer("b", "w8a8", 38.0)
    file = MixedFile(
        row="mixed", layers=(one.model_copy(update={"errors": errors}), other),
        predicted_error=0.4, predicted_bytes=2900, bytes=3000,
    )  # fmt: skip
    assert words_of(file)[0].narrower == f"{told} in w4a8"


class Built(Mixing):
    """A search that builds nothing: a file is as its allocation is predicted."""

    def __init__(self, budget: Budget, tables: Tables, *, most_error: float) -> None:
        request = SimpleNamespace(settings=Settings(batch=1), objective="balanced")
        ready = SimpleNamespace(budget=budget, request=request)
        super().__init__(cast("Attempts", SimpleNamespace(ready=ready, rows=[])))
        self.tables, self.most_error = tables, most_error
        self.made: list[Allocation] = []

    def _built(self, tables: Tables, allocation: Allocation) -> Row | None:
        self.made.append(allocation)
        measurement = SimpleNamespace(footprint=SimpleNamespace(bytes=allocation.bytes))
        assert allocation.error is not None
        misses = ("drop",) if allocation.error > self.most_error else ()
        return cast("Row", SimpleNamespace(misses=misses, measurement=measurement))

    def _is_slow(self, row: Row) -> bool:
        return False

    def _scale(self, tables: Tables) -> float:
        return 1.0


def slow_where_small() -> Tables:
    """Layers that are fast in 8 bits, and small but slow in packed ones."""
    names = [f"layer{at}" for at in range(8)]
    errors: dict[Format, float] = {"w8a8": 0.01, "w4": 0.001, "w8": 0.0001}
    layers = tuple(
        LayerSensitivity(name=name, op_type="MatMul", weights=100, errors=errors) for name in names
    )
    sizes: dict[Format, int] = {"float32": 400, "w8a8": 110, "w8": 100, "w4": 60}
    times: dict[Format, float] = {"float32": 1.0, "w8a8": 0.5, "w8": 0.9, "w4": 0.9}
    return Tables(
        Sensitivity(model="m", data="d", samples=1, formats=tuple(errors), layers=layers),
        SizeTable(layers=dict.fromkeys(names, sizes), rest=0),
        LatencyTable(
            target="t", machine="m", threads=1, feeds="f", layers=dict.fromkeys(names, times)
        ),
        (),
    )


def test_a_time_that_nobody_asked_for_gives_way_to_the_size_and_the_drop() -> None:
    tables = slow_where_small()
    small = Built(Budget(size="500B"), tables, most_error=1.0)
    small._within(tables, 500)
    assert [set(each.formats.values()) for each in small.made] == [{"w4"}]
    # Within a fiftieth of the fastest run all is in the format that loses most.
    exact = Built(Budget(size="880B", drop="1pt"), tables, most_error=0.01)
    exact._within(tables, 880)
    assert [each.error for each in exact.made] == [pytest.approx(0.08), pytest.approx(0.0008)]
    asked = Built(Budget(size="880B", drop="1pt", latency="4.4ms"), tables, most_error=0.01)
    asked._within(tables, 880)
    assert len(asked.made) == 1


def test_sizes_between_are_those_that_the_time_allows() -> None:
    tables = slow_where_small()
    found = Built(Budget(drop="1pt"), tables, most_error=0.08)
    found._between(tables)
    sizes = [each.bytes for each in found.made if each.bytes is not None]
    # In so little time no layer is in the smallest format.
    assert min(sizes) == 8 * 110
    assert all(each.ms is not None and each.ms <= 1.02 * 8 * 0.5 for each in found.made)
