"""Formats: each has a recipe whose settings are valid, and only what fits a model is tried."""

from __future__ import annotations

import pytest

from lissom.errors import RequestError
from lissom.search.formats import check_formats, recipe_of, usual
from lissom.search.weights import Weights
from lissom.tables import FORMATS, Format
from lissom.targets.named import find_target


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_a_recipe(form: Format) -> None:
    for step in recipe_of(form).steps:
        step.settings()


def test_widths_stand_in_the_settings() -> None:
    assert str(recipe_of("w3a8").steps[0]) == "quantize.static(weight_bits=3)"
    assert str(recipe_of("w8").steps[0]) == "quantize.weight_only(bits=8, embeddings=8)"


def test_formats_come_once_and_in_their_order() -> None:
    assert check_formats(["w4", "w8a8", "w4"]) == ("w8a8", "w4")
    assert check_formats("w8a8") == ("w8a8",)


@pytest.mark.parametrize(
    ("name", "words"), [("w8a", "did you mean 'w8a8'"), ("float32", "compared with")]
)
def test_what_cannot_be_tried_is_refused(name: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_formats([name])
    assert words in str(caught.value)


def of(*, linear: int = 0, tables: int = 0, convolutions: int = 0) -> tuple[Format, ...]:
    total = linear + tables + convolutions
    weights = Weights(linear, tables, convolutions, total, total, halves=total)
    return usual(weights, find_target())


def test_only_formats_that_fit_the_layers_are_usual() -> None:
    assert of(convolutions=950, linear=50) == ("float16", "w8a8", "w6a8", "w4a8")
    assert {"w8a8", "w8a8 dynamic", "w8", "w4"} <= set(of(linear=100))
    assert of(tables=100) == ("float16", "w8a8 dynamic", "w8", "w4")
