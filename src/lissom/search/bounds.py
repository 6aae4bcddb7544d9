"""What is known of a candidate before it is built: its least bytes, and whose speed it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lissom.quantize.dynamic import Dynamic
from lissom.quantize.float16 import Float16
from lissom.quantize.static import Static
from lissom.quantize.weight_only import WeightOnly
from lissom.recipe.schema import Recipe
from lissom.report.results import Row
from lissom.report.text import size
from lissom.search.budget import Budget
from lissom.search.weights import Weights

FLOAT = 32
# A block of packed weights brings a float32 scale, and a zero point of as many bits as a code.
SCALE = 32
# Times of two files with the same kernels differ by less than this on a busy machine.
NOISE = 0.1


def least_bytes(recipe: Recipe, weights: Weights) -> int:
    """Bytes that no file of a recipe can be below: its weights, at the widths of its steps.

    What depends on the layer (a few that stay wide, scales per channel, padding) is left out, and
    so is the graph around the weights: all of it makes the file larger. A step that is not known
    here may take any weight away.
    """
    known = weights.linear + weights.tables + weights.vectors
    left = {
        "linear": weights.linear,
        "tables": weights.tables,
        # All that static quantization may find: also layers it has to rewrite first.
        "others": max(0, weights.floats - known),
        # Biases, and what stays float around the layers; codes bring as many scales.
        "vectors": min(weights.vectors, weights.floats),
    }
    rest = max(0, weights.total - sum(left.values()))
    floats = 1.0
    shares = dict.fromkeys(left, 1.0)
    for step in recipe.steps:
        if step.technique == "graph.optimize":
            continue
        settings = step.settings()
        if isinstance(settings, Float16):
            floats = 1 - weights.halves / (2 * weights.floats) if weights.floats else 1.0
        elif isinstance(settings, Static):
            narrowest = min(settings.weight_bits, *settings.layer_bits.values(), 8)
            _narrow(shares, ("linear", "others"), narrowest)
        elif isinstance(settings, Dynamic):
            _narrow(shares, ("linear", "tables") if settings.embeddings else ("linear",), 8)
        elif isinstance(settings, WeightOnly):
            if settings.layers:
                _narrow(shares, ("linear",), _packed(settings.bits, settings.block))
            if settings.embeddings is not None:
                _narrow(shares, ("tables",), _packed(settings.embeddings, settings.block))
        else:
            return 0
    return int(rest + floats * sum(left[kind] * shares[kind] for kind in left))


def kernels(recipe: Recipe) -> str:
    """What computes the layers of a recipe's file; files of the same kernels are equally fast.

    Narrow weights are widened while the file is loaded: static INT8 runs the same kernels
    whatever the width and however its weights were rounded.
    """
    last = recipe.steps[-1]
    if last.technique in ("graph.optimize", "quantize.float16"):
        return "float32"
    settings = last.settings()
    if isinstance(settings, WeightOnly):
        return f"weights of {settings.bits} bits"
    return last.technique


def too_large(least: int, budget: Budget) -> str | None:
    """Why a candidate of that many bytes at least cannot be inside the budget, or None."""
    limit = budget.most_bytes
    if limit is None or least <= limit:
        return None
    return f"takes at least {size(least)}, above the limit of {budget.size}"


def too_slow(
    recipe: Recipe, rows: Sequence[Row], recipes: Mapping[str, Recipe], budget: Budget
) -> str | None:
    """Why a measured file of the same kernels rules a candidate out, or None."""
    for row in rows:
        if kernels(recipes[row.name]) == kernels(recipe):
            missed = budget.too_slow(row.measurement, NOISE)
            if missed is not None:
                return f"runs the kernels of {row.name}, whose {missed}"
    return None


def beaten(least: int, recipe: Recipe, rows: Sequence[Row]) -> bool:
    """Whether a file that is inside the budget is likely to be smaller and faster: one that is
    faster than the original, where the candidate computes with floats."""
    if kernels(recipe) in ("quantize.static", "quantize.dynamic"):
        return False
    return any(
        not row.misses
        and row.measurement.footprint.bytes <= least
        and row.measurement.speed is not None
        and row.measurement.speed.verdict == "faster"
        for row in rows
    )


def _narrow(shares: dict[str, float], kinds: Sequence[str], bits: float) -> None:
    for kind in kinds:
        shares[kind] = min(shares[kind], bits / FLOAT)


def _packed(bits: int, block: int) -> float:
    """Bits of a weight with its part of the block's scale and zero point."""
    return bits + (SCALE + bits) / block
