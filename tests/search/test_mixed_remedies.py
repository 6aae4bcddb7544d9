"""What is said of a file that quantize.mixed wrote can be pasted into the recipe that made it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import onnx
import onnx_ir as ir
import pytest
import yaml

import lissom
from lissom.batches import Batches
from lissom.diagnosis.remedies import remedy_for
from lissom.diagnosis.slow import slow
from lissom.diagnosis.written import written
from lissom.graph.optimize import Optimize, optimize
from lissom.quantize.formats import layers_of
from lissom.quantize.mixed import Mixed, chosen_formats, mixed
from lissom.recipe.schema import Recipe, Step
from lissom.report.diagnosis import Cause, Diagnosis, Grid, LayerError, LayerTime, Times
from lissom.technique import Context
from tests.diagnosis.networks import images, residual
from tests.models import saved
from tests.search.conftest import BRIEF

NARROW = {True: "half.first.sum/Conv", False: "half.first.normed_weight"}
RECIPE = """
name: mixed by hand
steps:
  - technique: graph.optimize
  - technique: quantize.mixed
    config:
      default: w8a8
      layers: {}
"""


def with_layers(formats: dict[str, str]) -> Recipe:
    """The recipe with other formats for some layers."""
    document = yaml.safe_load(RECIPE)
    document["steps"][-1]["config"]["layers"] = formats
    return Recipe.model_validate(document)


def made(recipe: Recipe, original: Path, folder: Path) -> Path:
    """The artifact of a recipe."""
    batches = images()
    task = lissom.Task(calibration=batches, validation=batches, metric="cosine")
    result = lissom.run(recipe, original, task, settings=BRIEF)
    result.artifacts[-1].save(folder)
    return folder


def looked_at(original: Path, compressed: Path) -> Diagnosis:
    task = lissom.Task(validation=images(), metric="cosine")
    return lissom.diagnose(original, compressed, task, times=False, cpu="vnni")


def network(folder: Path, *, named: bool) -> Path:
    model = residual()
    if not named:
        for node in model.graph.node:
            node.name = ""
    return saved(model, folder / "original.onnx")


def narrowed(folder: Path, *, named: bool) -> tuple[Path, dict[str, str], Diagnosis]:
    """The network, the format of the layer that suffers, and what is found in the file."""
    original = network(folder, named=named)
    formats = {NARROW[named]: "w2a8"}
    found = looked_at(original, made(with_layers(formats), original, folder / "narrow"))
    return original, formats, found


@pytest.mark.parametrize("named", [True, False])
def test_more_bits_pasted_into_the_recipe_bring_what_is_foretold(
    named: bool, tmp_path: Path, instant: list[str]
) -> None:
    original, formats, found = narrowed(tmp_path, named=named)
    assert [step.technique for step in found.made_by] == ["graph.optimize", "quantize.mixed"]
    first = found.verdicts[0]
    assert (first.technique, first.config) == ("quantize.mixed", {"layers": {first.layer: "w4a8"}})
    # As it is printed, not as it is in the record.
    (pasted,) = re.findall(r"quantize\.mixed with layers: (\{.*?\})", first.remedy)
    formats |= yaml.safe_load(pasted)
    after = looked_at(original, made(with_layers(formats), original, tmp_path / "mended"))
    measured = 1 - after.output_error / found.output_error
    assert first.gain is not None
    assert abs(first.gain - measured) < measured / 3
    assert measured > 0.5


@pytest.mark.parametrize("named", [True, False])
def test_every_remedy_is_a_setting_that_quantize_mixed_takes(
    named: bool, tmp_path: Path, instant: list[str]
) -> None:
    original, formats, found = narrowed(tmp_path, named=named)
    graph = optimize(ir.load(original), Optimize(), Context())
    layers = layers_of(graph)
    ranges: list[Any] = []
    for layer in found.layers:
        form = written(layer, found.layers, found.made_by)
        for cause in get_args(Cause):
            remedy = remedy_for(form, cause)
            if remedy.technique in (None, "quantize.equalize", "quantize.smooth"):
                assert remedy.config == {}
                continue
            assert remedy.technique == "quantize.mixed"
            told: Any = remedy.config.get("layers", {})
            config = {**remedy.config, "default": "w8a8", "layers": formats | told}
            chosen = chosen_formats(layers, Mixed(**config))
            given = {each.name: form for each, form in chosen.items()}
            assert {name: given[name] for name in told} == told
            ranges += config.get("per_layer", [])
    # Globs that match nothing would be refused.
    assert len(ranges) > 12
    settings = Mixed(default="w8a8", per_layer=ranges)
    mixed(graph, settings, Context(calibration=Batches.of(images())))


def test_layers_slower_than_float_are_told_of_in_formats() -> None:
    """A layer without weights has none, so that there is nothing to set for it."""
    slow_ones = [
        LayerTime(name=name, original=1.0, compressed=2.0, difference=took, runs="integer")
        for name, took in (("conv", (1.9, 2.0, 2.1)), ("add", (0.9, 1.0, 1.1)))
    ]
    times = Times(
        original=10.0, compressed=12.0, conversions=(0.0, 0.0), rest=(0.0, 0.0), threads=1,
        inputs="x 1x3",
        layers=tuple(slow_ones),
    )  # fmt: skip
    conv = LayerError(
        name="conv", op_type="Conv", output="y", added=1e-4, accumulated=1e-4, weight="w",
        weight_bits=4, grid=Grid(low=-1.0, high=1.0, counts=(1,), clip_low=-1.0, clip_high=1.0),
    )  # fmt: skip
    add = conv.model_copy(
        update={"name": "add", "op_type": "Add", "weight": "", "weight_bits": None}
    )
    for known in ((conv, add), (conv,)):
        steps = tuple(Step(technique=name) for name in ("graph.optimize", "quantize.mixed"))
        first, second = slow(times, known, steps)
        assert first.remedy == "keep it float: quantize.mixed with layers: {'conv': 'float32'}"
        assert (second.layer, second.remedy, second.config) == ("add", "", {})
    # What does not fuse is stored so already.
    change = {"runs": "float", "why": "its result is read twice", "fix": "read it once"}
    twice = times.model_copy(update={"layers": (slow_ones[0].model_copy(update=change),)})
    (verdict,) = slow(twice, (conv,), (Step(technique="quantize.mixed"),))
    assert verdict.remedy.startswith("read it once; or keep it float: quantize.mixed with layers")


def test_a_file_that_is_not_the_artifact_of_its_folder_is_anyones(
    tmp_path: Path, instant: list[str]
) -> None:
    original = network(tmp_path, named=True)
    folder = made(with_layers({}), original, tmp_path / "made")
    other = folder / "model.onnx"
    model = onnx.load(other)
    model.doc_string = "changed by hand"
    onnx.save(model, other)
    assert looked_at(original, other).made_by == ()
