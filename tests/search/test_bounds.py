"""What is known of a candidate before it is built, against the files that are."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from lissom.model import open_model
from lissom.onnx_file import read_onnx
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.search.bounds import beaten, kernels, least_bytes, too_large, too_slow
from lissom.search.budget import Budget
from lissom.search.candidates import BASELINE, propose
from lissom.search.explore import search
from lissom.search.request import Request
from lissom.search.weights import Weights, weights_of
from lissom.task import Task
from tests import models
from tests.search.rows import row
from tests.search.test_candidates import ENCODER, IMAGES


def wide() -> onnx.ModelProto:
    """Two layers of 256 x 256, beside which nothing else takes room."""
    weights = models.Weights(0)
    nodes = models.dense(weights, "one", "x", 256, 256)
    nodes += [
        models.node("Relu", ["one"], "hidden"),
        *models.dense(weights, "y", "hidden", 256, 256),
    ]
    x, y = models.value("x", 1, "batch", 256), models.value("y", 1, "batch", 256)
    return models.build("wide", nodes, [x], y, weights, 21)


STATIC, PACKED, HALF = "int8 static", "4-bit weights", "float16 storage"


def recipe(name: str, weights: Weights = ENCODER) -> Recipe:
    found, _ = propose(weights, calibrated=True, judged=True)
    return next(each for each in found if each.name == name)


@pytest.mark.parametrize(
    ("model", "near"),
    [
        (wide(), 0.8),
        (models.two_input(), 0.0),
        (models.depthwise(), 0.0),
    ],
)
def test_no_file_is_below_its_bound(
    model: onnx.ModelProto, near: float, tmp_path: Path, instant: list[str]
) -> None:
    """And where the weights make the file, none is far above it."""
    path = models.saved(model, tmp_path / "model.onnx")
    feeds = models.feeds(model, 32)
    task = Task(calibration=feeds, validation=feeds, metric="cosine")
    found = search(open_model(path), task, Request(), Store(tmp_path / "store"))
    weights = weights_of(read_onnx(found.files[BASELINE.name].path))
    assert len(found.files) >= 4
    for name, built in found.files.items():
        least = least_bytes(found.recipes[name], weights)
        assert near * built.path.stat().st_size < least <= built.path.stat().st_size, name


def test_bounds_follow_widths_and_what_each_step_takes() -> None:
    # 5,000 bytes of matrices and of tables in float32.
    assert least_bytes(BASELINE, ENCODER) == 10_000
    assert least_bytes(recipe("int8 dynamic"), ENCODER) == 2_500
    # A scale of 32 bits and a zero point for 128 weights of 8 bits, and for 32 of 4.
    assert least_bytes(recipe(STATIC), ENCODER) == 1_250 + int(1_250 * (1 + 5 / 128))
    assert least_bytes(recipe(PACKED), ENCODER) == int(1_250 * (1 + 9 / 32))
    halves = Weights(linear=0, tables=0, convolutions=0, floats=8_000, total=8_800, halves=6_000)
    assert least_bytes(recipe(HALF), halves) == 800 + 2_000 + 3_000
    # Biases stay as wide as they are.
    biased = Weights(linear=0, tables=0, convolutions=8_000, floats=9_000, total=9_000, vectors=900)
    assert least_bytes(recipe(STATIC, biased), biased) == 900 + 8_100 // 4


def test_a_step_that_nothing_is_known_of_rules_nothing_out() -> None:
    pruned = Recipe(
        name="pruned",
        steps=(
            Step(technique="graph.optimize"),
            Step(technique="distill.logits"),
        ),
    )
    assert least_bytes(pruned, ENCODER) == 0
    assert too_large(0, Budget(size="1kB")) is None


def test_a_bound_above_the_limit_is_told_with_both() -> None:
    assert too_large(10_000, Budget(size="9kB")) == (
        "takes at least 10.0 kB, above the limit of 9kB"
    )
    assert too_large(9_000, Budget(size="9kB")) is None
    assert too_large(10_000, Budget(latency="1ms")) is None


def test_narrow_and_learned_weights_run_the_same_kernels() -> None:
    same = {kernels(recipe(name, IMAGES)) for name in (STATIC, "int8 static, learned")}
    assert same == {kernels(recipe("int8 static, 4-bit weights", IMAGES))}
    assert kernels(BASELINE) == kernels(recipe(HALF)) != kernels(recipe(PACKED))
    assert kernels(recipe(PACKED)) != kernels(recipe("8-bit weights"))


@pytest.mark.parametrize(
    ("p50", "limit", "why"),
    [
        (3.0, {"latency": "2ms"}, "latency 3.0 ms exceeds 2ms by 1.0 ms"),
        (2.1, {"latency": "2ms"}, None),  # noise
        (3.0, {"throughput": "150/s"}, "throughput 100.0/s is below 150/s"),
        (3.0, {"size": "1kB"}, None),
    ],
)
def test_a_measured_file_bounds_those_of_its_kernels(
    p50: float, limit: dict[str, str], why: str | None
) -> None:
    rows = [row(STATIC, p50=p50)]
    found = too_slow(
        recipe("int8 static, learned", IMAGES), rows, {STATIC: recipe(STATIC)}, Budget(**limit)
    )
    assert found == (None if why is None else f"runs the kernels of {STATIC}, whose {why}")
    assert too_slow(recipe(PACKED), rows, {STATIC: recipe(STATIC)}, Budget(**limit)) is None


def test_floats_are_beaten_by_a_smaller_and_faster_file_inside_the_budget() -> None:
    packed = recipe("8-bit weights")
    fast = row(STATIC, size=1000, speed=1.5)
    assert beaten(1000, packed, [fast])
    assert not beaten(999, packed, [fast])
    assert not beaten(1000, packed, [row(STATIC, size=1000, speed=0.9)])
    assert not beaten(1000, packed, [row(STATIC, size=1000, speed=1.5, misses=("drop",))])
    assert not beaten(1000, recipe("int8 dynamic"), [fast])
