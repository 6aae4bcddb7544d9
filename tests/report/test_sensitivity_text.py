"""Sensitivities in words: the worst layers, whether errors add up, and tables that fit."""

from __future__ import annotations

import pytest

from lissom.report.sensitivity_text import as_text
from lissom.report.sensitivity_words import additivity, concentrated, not_adding_up, ranked
from lissom.tables import Format, LayerSensitivity, Pair, Sensitivity

FORMATS: tuple[Format, ...] = ("float16", "w8a8", "w4a8")


def layer(name: str, *errors: float, module: str | None = None) -> LayerSensitivity:
    return LayerSensitivity(
        name=name, module=module, op_type="Conv", weights=1000,
        errors=dict(zip(FORMATS, errors, strict=False)),
    )  # fmt: skip


def table(layers: int = 3, **more: object) -> Sensitivity:
    rest = tuple(layer(f"conv_{at}", 1e-9, 1e-6, 1e-4) for at in range(layers - 2))
    last = layer("last", 1e-8, 1e-4, 1e-2, module="net.last")
    found = Sensitivity(
        model="sha256:00", data="11", samples=64, formats=FORMATS,
        layers=(layer("conv_first", 1e-9), *rest, last),
        whole={"float16": 1.1e-8, "w8a8": 1.1e-4, "w4a8": 0.04},
        pairs=(Pair(one="conv_0", other="last", format="w8a8", predicted=1.01e-4, measured=1e-4),),
    )  # fmt: skip
    return found.model_copy(update=more)


def test_the_most_sensitive_layer_comes_first_by_its_module() -> None:
    lines = as_text(table()).splitlines()
    assert lines[0] == "all 3 layers, the most sensitive first; 64 calibration samples"
    assert lines[2].split() == ["layer", "weights", *FORMATS]
    assert lines[3].split() == ["net.last", "1,000", "-80.0", "-40.0", "-20.0"]
    assert lines[5].split() == ["conv_first", "1,000", "-90.0", "-", "-"]
    assert lines[6].split()[-2:] == ["-40.0", "-20.0"]
    assert lines[7].split()[-1] == "-14.0"


def test_float16_does_not_decide_what_is_sensitive() -> None:
    layers = (layer("a", 1e-3, 1e-6, 1e-6), layer("b", 1e-9, 1e-5, 1e-5))
    found = table(layers=2).model_copy(update={"layers": layers})
    assert [each.name for each in ranked(found)] == ["b", "a"]


def test_what_does_not_add_up_is_told() -> None:
    (words,) = not_adding_up(table())
    assert words.startswith("errors do not add up in w4a8: all layers together make -14.0 dB, 4")
    pair = Pair(one="last", other="conv_0", format="w4a8", predicted=0.01, measured=0.03)
    told = list(not_adding_up(table(pairs=(pair,))))
    assert told[1] == (
        "net.last and conv_0 in w4a8: together they make 3 times the sum of what each makes alone"
    )
    assert additivity(table(pairs=(pair,))) == (
        "0 of 1 pairs of layers measured together add up to within half"
    )
    assert additivity(table()).endswith("none differs from the sum by more than 1 %")
    assert additivity(table(pairs=())) == ""


def test_few_layers_that_make_half_of_the_error_are_named() -> None:
    assert list(concentrated(table())) == [
        "w8a8: 1 of 2 layers makes half of the layers' error: net.last",
        "w4a8: 1 of 2 layers makes half of the layers' error: net.last",
    ]


def test_long_networks_are_cut_and_all_shows_them_in_order() -> None:
    found = table(layers=30)
    assert as_text(found).splitlines()[-1] == "and 14 more layers; --all shows them"
    every = as_text(found, every=True)
    assert every.splitlines()[3].startswith("conv_first ") and "--all" not in every


@pytest.mark.parametrize("width", [40, 60, 80])
def test_lines_fit_the_terminal(width: int) -> None:
    long = layer("model.encoder." * 6, 1e-9, 1e-6, 1e-4)
    found = table().model_copy(update={"layers": (*table().layers, long)})
    lines = as_text(found, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("…" in line for line in lines)


def test_lost_layers_are_said() -> None:
    assert "not found again in w8a8, and not measured: x" in as_text(table(lost={"w8a8": ("x",)}))
