"""Which recipes make sense for this model, task and target, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence

from lissom.errors import ModelError, RequestError
from lissom.graph.quantized import Quantized
from lissom.recipe.schema import Recipe, Step
from lissom.report.results import Skipped
from lissom.report.text import size
from lissom.search.bounds import least_bytes
from lissom.search.effort import NORMAL, Effort
from lissom.search.weights import Weights
from lissom.technique import find_technique

# An embedding table below this share of the weights is not worth a candidate of its own.
LEAST_SHARE = 0.1

# What every recipe begins with, and a candidate itself.
BASELINE = Recipe(name="float32, optimized", steps=(Step(technique="graph.optimize"),))


def left_out(effort: Effort) -> str:
    """Why a candidate that applies was not built."""
    return f"left out by --effort {effort.name}"


def left_alone(weights: Weights) -> list[str]:
    """What no recipe touches and the reader of the report would look for, in sentences."""
    notes = []
    if weights.bodies:
        notes.append(f"Left as they are: {_in_bodies(weights)}.")
    if weights.quantized:
        notes.append(f"Quantized already and left as it is: {_found(weights.quantized)}.")
    return notes


def propose(
    weights: Weights,
    *,
    calibrated: bool,
    judged: bool,
    only: Sequence[str] = (),
    effort: Effort = NORMAL,
) -> tuple[list[Recipe], list[Skipped]]:
    """The recipes worth building, and those left out with the reason.

    Args:
        weights: what the model holds.
        calibrated: the task has calibration data.
        judged: the task measures quality.
        only: techniques to keep to; empty allows all.
        effort: narrows the choice where `only` does not.

    Raises:
        RequestError: `only` names a technique that does not exist or fits nothing here.
        ModelError: the model holds nothing that can be compressed.
    """
    for name in only:
        find_technique(name)
    _refuse_empty(weights, optimizing="graph.optimize" in only)
    recipes: list[Recipe] = []
    skipped: list[Skipped] = []
    packing = not only or "quantize.weight_only" in only
    for recipe, why in _all(weights, calibrated=calibrated, judged=judged, packing=packing):
        used = {step.technique for step in recipe.steps[1:]} or {"graph.optimize"}
        if why is None and only and not used <= set(only):
            why = "left out by --technique"
        if why is None:
            recipes.append(recipe)
        else:
            skipped.append(Skipped(name=recipe.name, why=why))
    if only and not recipes:
        reasons = "; ".join(f"{s.name}: {s.why}" for s in skipped if "--technique" not in s.why)
        raise RequestError(
            f"none of the techniques {', '.join(only)} applies to this model",
            where=reasons or None,
            fix="leave --technique out to try all that make sense",
        )
    return _within(effort, recipes, skipped, weights) if not only else (recipes, skipped)


def _within(
    effort: Effort, recipes: list[Recipe], skipped: list[Skipped], weights: Weights
) -> tuple[list[Recipe], list[Skipped]]:
    """The recipes that an effort builds: all, where none of those it prefers applies."""
    kept = [each for each in recipes if effort.recipes is None or each.name in effort.recipes]
    if not kept:
        return recipes, skipped
    out = [
        Skipped(name=each.name, why=left_out(effort), bytes=least_bytes(each, weights))
        for each in recipes
        if each not in kept
    ]
    return kept, [*out, *skipped]


def _refuse_empty(weights: Weights, *, optimizing: bool) -> None:
    """Refuse a model that holds nothing that any recipe makes smaller."""
    if weights.bodies and not weights.floats:
        raise ModelError(
            f"nothing to compress: {_in_bodies(weights)}, and lissom rewrites the main graph only",
            fix="export the model without the branch or loop around it: with one of the branches "
            "as the whole model, or one step of the loop",
        )
    if weights.classic and not weights.floats:
        raise ModelError(
            "nothing to compress: the model holds no weights; what it has learnt is in the "
            f"attributes of {', '.join(weights.classic)}, and lissom compresses neural networks",
            fix="fewer or shallower trees make such a model smaller; `lissom measure` times it",
        )
    if not weights.total:
        raise ModelError(
            "nothing to compress: the model holds no weights",
            fix="check that the right file was given; weights may be computed by another model",
        )
    if optimizing:
        return
    if weights.quantized and not weights.quantizable and not weights.halves:
        floats = f"; {size(weights.floats)} are float32: biases, norms, scales"
        raise ModelError(
            "nothing is left to quantize: the model is quantized already: "
            f"{_found(weights.quantized)}{floats if weights.floats else ''}",
            fix="give the original float model to have it compressed in another way, or "
            "`lissom measure` this file next to it",
        )
    if not weights.floats:
        raise ModelError(
            "nothing to quantize: none of the model's weights are float32",
            fix="`lissom inspect` lists the types; export the model in float32",
        )


def _in_bodies(weights: Weights) -> str:
    return " and ".join(
        f"{size(count)} of weights in the body of {kind}" for kind, count in weights.bodies.items()
    )


def _found(quantized: Sequence[Quantized]) -> str:
    return ", ".join(
        f"{size(each.bytes)} in {each.tensors} tensor{'s' * (each.tensors > 1)} for {each.op_type}"
        for each in quantized
    )


def _all(
    weights: Weights, *, calibrated: bool, judged: bool, packing: bool
) -> list[tuple[Recipe, str | None]]:
    """Every recipe lissom knows, with the reason not to build it or None.

    With `packing`, static INT8 packs large embedding tables too, which it leaves alone itself.
    """
    no_matrix = (
        None if weights.linear or weights.tables else "no matrix product has constant weights"
    )
    no_layer = (
        None if weights.linear or weights.convolutions else "no layer has constant float32 weights"
    )
    uncalibrated = None if calibrated else "needs calibration data, and no task brings any"
    unjudged = None if judged else "below 8 bits quality must be measured, and no task does"
    few_tables = (
        None if weights.tables > LEAST_SHARE * weights.total else "no large embedding table"
    )
    few_matrices = (
        None
        if weights.linear + weights.tables > LEAST_SHARE * weights.total
        else "matrix products hold too little of this model's weights"
    )
    few_kernels = (
        None
        if weights.convolutions > weights.linear
        else "learned rounding pays for convolutions; products lose by the rounding of their inputs"
    )
    packed = no_matrix or few_matrices
    with_tables = not few_tables and packing
    tables, narrow_tables = ((_tables(8),), (_tables(4),)) if with_tables else ((), ())
    return [
        (BASELINE, None),
        (_recipe("float16 storage", Step(technique="quantize.float16")), _no_floats(weights)),
        (_recipe("int8 dynamic", _dynamic()), packed),
        (
            _recipe("int8 dynamic, 4-bit embeddings", _tables(4), _dynamic()),
            packed or few_tables or unjudged,
        ),
        (_recipe("int8 static", *tables, _static()), no_layer or uncalibrated),
        (
            _recipe("int8 static, learned", *tables, _static(rounding="learned")),
            no_layer or uncalibrated or few_kernels,
        ),
        (
            _recipe(
                "int8 static, 4-bit weights",
                *narrow_tables,
                _static(weight_bits=4, rounding="learned"),
            ),
            no_layer or uncalibrated or unjudged,
        ),
        (_recipe("8-bit weights", _packed(8, 128)), packed),
        (_recipe("4-bit weights", _packed(4, 32)), packed or unjudged),
        (_recipe("2-bit weights", _packed(2, 32)), packed or unjudged),
    ]


def _no_floats(weights: Weights) -> str | None:
    """Why float16 storage is pointless, or None."""
    return None if weights.floats else "the weights are not float32"


def _recipe(name: str, *steps: Step) -> Recipe:
    return Recipe(name=name, steps=(*BASELINE.steps, *steps))


def _tables(bits: int) -> Step:
    """Embedding tables alone; the layers are left to the step after."""
    block = 128 if bits == 8 else 32
    return Step(
        technique="quantize.weight_only",
        config={"layers": False, "embeddings": bits, "block": block},
    )


def _dynamic() -> Step:
    return Step(technique="quantize.dynamic")


def _static(**config: str | int) -> Step:
    return Step(technique="quantize.static", config=config)


def _packed(bits: int, block: int) -> Step:
    return Step(
        technique="quantize.weight_only",
        config={"bits": bits, "block": block, "embeddings": 8 if bits == 8 else 4},
    )
