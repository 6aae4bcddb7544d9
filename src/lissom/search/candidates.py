"""Which recipes make sense for this model, task and target, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lissom.errors import ModelError, RequestError
from lissom.graph.weights import embeddings, linear_weights
from lissom.quantize.placement import place
from lissom.recipe.schema import Recipe, Step
from lissom.report.results import Skipped
from lissom.technique import find_technique

# An embedding table below this share of the weights is not worth a candidate of its own.
LEAST_SHARE = 0.1

# What every recipe begins with, and a candidate itself.
BASELINE = Recipe(name="float32, optimized", steps=(Step(technique="graph.optimize"),))


@dataclass(frozen=True)
class Weights:
    """Bytes of float32 weights by the kind of layer that reads them.

    Attributes:
        linear: constant matrices of MatMul and Gemm.
        tables: embedding tables.
        convolutions: kernels of Conv.
        floats: all float32 weights, whatever reads them.
        total: everything in the graph, whatever its type.
    """

    linear: int
    tables: int
    convolutions: int
    floats: int
    total: int


def weights_of(model: ir.Model) -> Weights:
    """Count the weights of a graph, each once however many layers share it."""
    graph = model.graph
    linear = {layer.value for layer in linear_weights(graph)}
    tables = {node.inputs[0] for node in embeddings(graph) if node.inputs[0] is not None}
    kernels = {n.inputs[1] for n in place(graph).layers if n.op_type == "Conv" and n.inputs[1]}
    every = set(graph.initializers.values())
    floats = {value for value in every if value.dtype == ir.DataType.FLOAT}
    return Weights(*map(_bytes, (linear, tables, kernels, floats, every)))


def propose(
    weights: Weights, *, calibrated: bool, judged: bool, only: Sequence[str] = ()
) -> tuple[list[Recipe], list[Skipped]]:
    """The recipes worth building, and those left out with the reason.

    Args:
        weights: what the model holds.
        calibrated: the task has calibration data.
        judged: the task measures quality.
        only: techniques to keep to; empty allows all.

    Raises:
        RequestError: `only` names a technique that does not exist or fits nothing here.
        ModelError: the model holds nothing that can be compressed.
    """
    for name in only:
        find_technique(name)
    if not weights.total:
        raise ModelError(
            "nothing to compress: the model holds no weights",
            fix="check that the right file was given; weights may be computed by another model",
        )
    if not weights.floats and "graph.optimize" not in only:
        raise ModelError(
            "nothing to quantize: none of the model's weights are float32",
            fix="a model that is quantized already cannot be compressed further: give the original",
        )
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
    return recipes, skipped


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
        else "clipping pays for convolutions; matrix products need the outliers it cuts off"
    )
    packed = no_matrix or few_matrices
    tables = () if few_tables or not packing else (_tables(8),)
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
            _recipe("int8 static, percentile", *tables, _static(observer="percentile")),
            no_layer or uncalibrated or few_kernels,
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


def _static(**config: str) -> Step:
    return Step(technique="quantize.static", config=config)


def _packed(bits: int, block: int) -> Step:
    return Step(
        technique="quantize.weight_only",
        config={"bits": bits, "block": block, "embeddings": 8 if bits == 8 else 4},
    )


def _bytes(values: set[ir.Value]) -> int:
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)
