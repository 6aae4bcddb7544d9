"""Building for another processor: its weights, no times, and nothing judged by a time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import lissom
from lissom.artifact import read_manifest
from lissom.errors import RequestError
from lissom.search.compress import Result
from lissom.targets.cpu import PAIR_SUMS
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.targets.saturation import saturating
from tests.search.conftest import BRIEF, LENIENT, STATIC, Finished

OWN = onnxruntime_target()
OTHER = next(cpu for cpu in PAIR_SUMS if PAIR_SUMS[cpu] != OWN.pair_sums)


@pytest.fixture(scope="module")
def elsewhere(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("cpu") / "out"
    result = lissom.compress(
        finished.model, finished.task, budget=LENIENT, objective="size", folder=folder,
        settings=BRIEF, techniques=STATIC, cpu=OTHER,
    )  # fmt: skip
    return folder, result


def test_the_weights_are_those_of_the_other_processor(
    finished: Finished, elsewhere: tuple[Path, Result]
) -> None:
    found = {
        pair_sums: bool(saturating(folder / "model.onnx"))
        for pair_sums, folder in [
            (OWN.pair_sums, finished.folder),
            (PAIR_SUMS[OTHER], elsewhere[0]),
        ]
    }
    assert found == {False: True, True: False}


def test_times_are_not_measured_and_this_is_said(elsewhere: tuple[Path, Result]) -> None:
    folder, result = elsewhere
    for row in (result.results.original, *result.results.rows):
        assert row.measurement.latency is None
        assert row.measurement.speed is None
        assert row.measurement.quality is not None
    assert "not measured here" in str(result)
    assert f"Built for {OTHER}" in str(result)
    assert "not measured here" in (folder / "report.html").read_text()
    written = json.loads((folder / "results.json").read_text())
    assert written["cpu"] == OTHER
    assert written["original"]["measurement"]["latency"] is None
    assert OTHER in written["target"]


def test_the_manifest_records_the_processor(
    finished: Finished, elsewhere: tuple[Path, Result]
) -> None:
    manifest = read_manifest(elsewhere[0])
    assert (manifest.cpu, manifest.pair_sums) == (OTHER, PAIR_SUMS[OTHER])
    own = read_manifest(finished.folder)
    assert (own.cpu, own.pair_sums) == (OWN.cpu, OWN.pair_sums)


def test_this_machine_by_name_is_this_machine(finished: Finished, tmp_path: Path) -> None:
    again = finished.again(tmp_path / "copy")
    named = lissom.compress(
        finished.model, finished.task, budget=LENIENT, objective="size", folder=tmp_path / "copy",
        settings=BRIEF, techniques=STATIC, cpu=OWN.cpu,
    )  # fmt: skip
    assert named.results.rows == again.results.rows


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"budget": lissom.Budget(latency="5ms")}, "latency"),
        ({"budget": lissom.Budget(throughput="5/s")}, "throughput"),
        ({"objective": "latency"}, "objective"),
    ],
)
def test_what_only_a_time_could_judge_is_refused(asked, named, finished: Finished) -> None:
    with pytest.raises(RequestError, match=f"the {named} cannot be judged here") as caught:
        lissom.compress(finished.model, finished.task, cpu=OTHER, **asked)
    assert OTHER in caught.value.what
    assert OWN.cpu in caught.value.what


def test_an_unknown_processor_is_refused(finished: Finished) -> None:
    with pytest.raises(RequestError, match="unknown cpu"):
        lissom.compress(finished.model, cpu="mips")


def test_recipes_take_it_too(finished: Finished, tmp_path: Path) -> None:
    recipe = lissom.Recipe(
        name="small",
        steps=(
            lissom.Step(technique="graph.optimize"),
            lissom.Step(technique="quantize.static"),
        ),
    )
    result = lissom.run(
        recipe, finished.model, finished.task, cpu=OTHER, budget=LENIENT, settings=BRIEF
    )
    assert result.results.cpu == OTHER
    assert all(row.measurement.latency is None for row in result.results.rows)
    assert dataclasses.is_dataclass(result)
