"""A recipe round-trips through YAML, and what is wrong in one is told by name."""

from __future__ import annotations

import pytest
import yaml

from lissom.errors import RequestError
from lissom.recipe import catalog
from lissom.recipe.schema import Recipe, Step


def test_a_recipe_comes_back_from_yaml_as_it_was() -> None:
    recipe = Recipe(
        name="8-bit, größer",
        steps=(
            Step(technique="graph.optimize"),
            Step(technique="quantize.weight_only", config={"bits": 8, "keep_float": ["head*"]}),
        ),
    )
    text = recipe.to_yaml()
    assert Recipe.model_validate(yaml.safe_load(text)) == recipe
    assert text.splitlines()[0] == "name: 8-bit, größer"


def test_settings_are_the_techniques_own_with_its_defaults() -> None:
    found = Step(technique="quantize.static", config={"observer": "percentile"}).settings()
    assert found == catalog.Static(observer="percentile")
    assert isinstance(found, catalog.Static)
    assert found.percent == 99.99


@pytest.mark.parametrize(
    ("step", "what", "fix"),
    [
        (Step(technique="quantize.dinamic"), "unknown technique 'quantize.dinamic'", "dynamic'?"),
        (
            Step(technique="quantize.static", config={"obsrver": "minmax"}),
            "unknown setting of quantize.static 'obsrver'",
            "did you mean 'observer'?",
        ),
        (
            Step(technique="quantize.static", config={"percent": 500}),
            "quantize.static: percent is wrong",
            "lissom techniques",
        ),
        (
            Step(technique="quantize.weight_only", config={"bits": 3}),
            "quantize.weight_only: bits is wrong",
            "lissom techniques",
        ),
    ],
)
def test_a_wrong_step_says_which_name_or_value(step: Step, what: str, fix: str) -> None:
    with pytest.raises(RequestError) as caught:
        step.settings()
    assert what in caught.value.what
    assert fix in str(caught.value.fix)


def test_a_step_in_words() -> None:
    assert str(Step(technique="graph.optimize")) == "graph.optimize"
    step = Step(technique="quantize.weight_only", config={"bits": 4, "keep_float": ["a", "b"]})
    assert str(step) == "quantize.weight_only(bits=4, keep_float=[a, b])"
