"""How a network is brought into one format as a whole, and which formats are worth trying."""

from __future__ import annotations

from collections.abc import Sequence

from lissom.errors import RequestError, unknown
from lissom.recipe import catalog
from lissom.recipe.schema import Recipe, Step
from lissom.search.weights import Weights
from lissom.tables import FORMATS, STATIC, WEIGHT_ONLY, Format, Rounding
from lissom.targets.target import Target

assert catalog.__all__, "importing the catalog fills the table of techniques"

FLOAT: Format = "float32"
DYNAMIC: Format = "w8a8 dynamic"
# Tried where nothing is asked for: what differs from its neighbours enough to choose between.
USUAL: tuple[Format, ...] = ("float16", "w8a8", "w6a8", "w4a8", DYNAMIC, "w8", "w4")
# Formats of products only are not worth their time where these hold less of the weights.
LEAST_PRODUCTS = 0.1
# What every format starts from.
OPTIMIZED = Recipe(name="float32, optimized", steps=(Step(technique="graph.optimize"),))


def recipe_of(form: Format, rounding: Rounding = "nearest") -> Recipe:
    """The recipe that brings an optimized float network into a format.

    Layers that a format does not apply to stay float. Only static formats learn their codes.
    """
    if form in STATIC:
        bits = STATIC[form]
        config: dict[str, int | str] = {} if bits == 8 else {"weight_bits": bits}
        if rounding != "nearest":
            config["rounding"] = rounding
        step = Step(technique="quantize.static", config=config)
    elif form in WEIGHT_ONLY:
        bits = WEIGHT_ONLY[form]
        tables = bits if bits > 2 else None
        step = Step(technique="quantize.weight_only", config={"bits": bits, "embeddings": tables})
    elif form == DYNAMIC:
        step = Step(technique="quantize.dynamic")
    else:
        step = Step(technique={"float16": "quantize.float16", FLOAT: "graph.optimize"}[form])
    return Recipe(name=form, steps=(step,))


def check_formats(asked: Sequence[str]) -> tuple[Format, ...]:
    """The formats that were asked for, each once, in the order of `FORMATS`.

    Raises:
        RequestError: one is unknown, or is float32, which has no error.
    """
    if isinstance(asked, str):
        asked = (asked,)
    for name in asked:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
        if name == FLOAT:
            raise RequestError(
                "float32 is what formats are compared with: its error is zero",
                fix=f"ask for others: {', '.join(FORMATS[1:])}",
            )
    return tuple(form for form in FORMATS if form in asked)


def usual(weights: Weights, target: Target) -> tuple[Format, ...]:
    """The formats that are tried where none are asked for: those that some layer here can have,
    and that do not run slower than floats on the target."""
    products = weights.linear + weights.tables
    few = products < LEAST_PRODUCTS * max(1, weights.quantizable)
    only = (DYNAMIC, *WEIGHT_ONLY)
    return tuple(
        form
        for form in USUAL
        if not (few and form in only)
        and not (form in STATIC and not weights.linear + weights.convolutions)
        and not (form == "float16" and not weights.halves)
        and target.slow(form) is None
    )
