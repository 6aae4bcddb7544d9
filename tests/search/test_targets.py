"""Files measured in several runtimes, of which each must keep to the budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lissom
from lissom.artifact import read_manifest
from lissom.errors import RequestError
from lissom.measurement.records import Measurement, Speed
from lissom.recipe.schema import Recipe, Step
from lissom.search import evaluate
from lissom.search.check import Checked
from lissom.search.choose import nearest, pick
from lissom.search.ready import _needed, in_each
from lissom.search.request import Request
from lissom.search.suited import formats_of, without_slow
from lissom.targets.named import find_target
from lissom.task import Task
from tests import models
from tests.search.conftest import labelled
from tests.search.rows import measurement, row

BOTH = ("onnxruntime", "openvino")


def recipe(technique: str, **config: object) -> Recipe:
    steps = (Step(technique="graph.optimize"), Step(technique=technique, config=config))
    return Recipe(name=f"{technique} {config}", steps=steps)


def in_both(here: Measurement, there: Measurement) -> Measurement:
    there = there.model_copy(update={"runtime": "openvino"})
    return here.model_copy(update={"runtime": "onnxruntime", "elsewhere": (there,)})


def test_formats_are_read_from_the_steps() -> None:
    assert formats_of(recipe("quantize.static")) == {"w8a8"}
    assert formats_of(recipe("quantize.static", weight_bits=4)) == {"w4a8"}
    assert formats_of(recipe("quantize.dynamic")) == {"w8a8 dynamic"}
    assert formats_of(recipe("quantize.weight_only", bits=2)) == {"w2"}
    assert formats_of(recipe("quantize.weight_only", layers=False)) == set()
    assert formats_of(recipe("quantize.float16")) == {"float16"}


def test_what_a_runtime_computes_slowly_is_not_proposed() -> None:
    pytest.importorskip("openvino")
    recipes = [recipe("quantize.static"), recipe("quantize.dynamic")]
    here, there = map(find_target, BOTH)
    assert without_slow(recipes, [here]) == (recipes, [])
    kept, skipped = without_slow(recipes, [here, there])
    assert kept == recipes[:1]
    assert "OpenVINO computes MatMulInteger in float32" in skipped[0].why


def test_targets_that_are_wrong_are_refused() -> None:
    assert Request(target="onnxruntime").target == ("onnxruntime",)
    with pytest.raises(RequestError, match="unknown target 'tensorrt'"):
        Request(target=("onnxruntime", "tensorrt"))
    with pytest.raises(RequestError, match="a target is given twice"):
        Request(target=("onnxruntime", "onnxruntime"))
    with pytest.raises(RequestError, match="no target"):
        Request(target=())


def test_what_one_runtime_misses_names_it() -> None:
    found = in_both(measurement(drop=0.0), measurement(drop=0.03))
    drop = lissom.Budget(drop="1pt")
    (missed,) = in_each(found, drop.misses)
    assert missed.endswith("exceeds 1pt by 2.00 pt (openvino)")
    size = lissom.Budget(size="1B")
    assert in_each(found, size.misses) == size.misses(found)


def test_a_check_tells_the_speed_in_each() -> None:
    found = in_both(measurement(speed=1.5), measurement(speed=0.5))
    checked = Checked(
        folder=Path("out"), name="int8", built_for="vnni", cpu="vnni", runtimes=BOTH,
        problems=(), saturating=(), measurement=found,
    )  # fmt: skip
    last = str(checked).splitlines()[-1]
    assert "speed next to the original in onnxruntime: 1.50x" in last
    assert "speed next to the original in openvino: 0.50x" in last


def test_the_choice_goes_by_the_runtime_that_gains_least() -> None:
    even = row("even", speed=1.5)
    fast = row("fast here", speed=3.0)
    even = even.model_copy(
        update={"measurement": in_both(even.measurement, measurement(speed=1.5))}
    )
    fast = fast.model_copy(
        update={"measurement": in_both(fast.measurement, measurement(speed=0.5))}
    )
    original = row("original")
    assert pick([even, fast], original, "latency") is even
    alone = fast.measurement.model_copy(update={"elsewhere": ()})
    best = pick([even, fast.model_copy(update={"measurement": alone})], original, "latency")
    assert best is not None and best.name == "fast here"


def test_the_nearest_is_the_one_that_is_least_outside_where_it_is_worst() -> None:
    even = row("even", drop=0.03)
    good_here = row("good here", drop=0.02)
    even = even.model_copy(
        update={"measurement": in_both(even.measurement, measurement(drop=0.03))}
    )
    good_here = good_here.model_copy(
        update={"measurement": in_both(good_here.measurement, measurement(drop=0.08))}
    )
    drop = lissom.Budget(drop="1pt")
    assert nearest([good_here, even], drop.excess) is even
    (told,) = _needed(drop, good_here, fitting=False)
    assert (
        "it needs drop 2pt instead of 1pt (onnxruntime) and drop 8pt instead of 1pt (open" in told
    )


def test_one_search_in_both_runtimes(
    tmp_path: Path, instant: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")

    def pair(*arguments: object) -> Speed:
        found = measurement(speed=2.0 if arguments[-1] == "onnxruntime" else 3.0).speed
        assert found is not None
        return found

    monkeypatch.setattr(evaluate, "compare_speed", pair)
    model = models.saved(models.depthwise(), tmp_path / "depthwise.onnx")
    feeds = models.feeds(models.depthwise(), 64)
    task = Task(calibration=feeds, validation=(feeds, labelled(model, feeds)), metric="accuracy")
    result = lissom.compress(
        model, task, target=BOTH, techniques=("quantize.float16",), folder=tmp_path / "out",
    )  # fmt: skip
    assert result.results.target.startswith("onnxruntime ")
    assert " and openvino " in result.results.target
    for each in (result.results.original, *result.results.rows):
        here, there = each.measurement.everywhere
        assert (here.runtime, there.runtime) == BOTH
        assert here.quality is not None and there.quality is not None
        assert here.quality.samples == there.quality.samples == 64
    chosen = result.results.chosen
    assert chosen is not None
    assert [each.speed and each.speed.ratio.value for each in chosen.measurement.everywhere] == [
        pytest.approx(2.0), pytest.approx(3.0),
    ]  # fmt: skip
    assert result.results.sentence.startswith("In onnxruntime: depthwise became ")
    manifest = read_manifest(tmp_path / "out")
    assert manifest.runtimes == BOTH
    checked = lissom.check(tmp_path / "out")
    assert checked.passed
    assert checked.runtimes == BOTH
    assert lissom.check(tmp_path / "out", target="openvino").runtimes == ("openvino",)


def test_the_snippet_runs_in_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    from lissom.search.snippet import snippet_for

    models.saved(models.mlp(), tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    opened = lissom.open_model(tmp_path / "model.onnx")
    text = snippet_for({"input": np.zeros((2, 16), np.float32)}, opened, runtime="openvino")
    told: list[object] = []
    from lissom.targets.openvino_package import openvino_package

    openvino_package()
    exec(text, {"print": told.append})
    assert told == [[(2, 5)]]
