"""Which layers are worth a word: with a fault, too much loss or few bits, and much of the error."""

from __future__ import annotations

from collections.abc import Sequence

from lissom.report.diagnosis import Grid, LayerError
from lissom.report.main_cause import main_cause

# Of the output's error: what a layer with a fault must make to be told of; one that only loses too
# much must make so many times what the median layer makes, or a large part.
NOTABLE, TIMES, LARGE = 0.05, 6.0, 0.25
# Layers that are told of, the largest first.
TOLD = 5
# Values beyond a grid, of all, from which on clipping is a sign of other data.
BEYOND = 1e-3


def outstanding(layers: Sequence[LayerError]) -> list[LayerError]:
    """The layers that make a notable part of the output's error and could do with less of it.

    Because of a fault, or of weights of few bits. What goes with a layer's error counts as its
    share does: small errors that add up with one sign have small shares.
    """
    shares = sorted(layer.share or 0.0 for layer in layers)
    if not shares:
        return []
    large = min(LARGE, max(NOTABLE, TIMES * shares[len(shares) // 2]))
    chosen = [
        layer
        for layer in layers
        if max(layer.share or 0.0, _weight(layer)) >= (NOTABLE if has_fault(layer) else large)
        and (has_fault(layer) or loses_too_much(layer) or is_narrow(layer))
    ]
    return sorted(chosen, key=lambda layer: -_weight(layer))[:TOLD]


def _weight(layer: LayerError) -> float:
    """What goes with the layer's error: as measured where that is known, else its share."""
    repaired = layer.gains.get("layer")
    return repaired.part if repaired is not None and repaired.told else layer.share or 0.0


def has_fault(layer: LayerError) -> bool:
    """Whether something is wrong that no width of codes explains.

    A sound layer has its bias and activation, exact sums, and a grid about as wide as the values.
    """
    grid, cause = layer.grid, main_cause(layer)
    if cause in ("bias", "activation", "saturation"):
        return True
    if grid is None:
        return False
    beyond = cause == "clipping" and grid.clipped > BEYOND
    return beyond or (cause == "rounding" and too_wide(grid))


def loses_too_much(layer: LayerError) -> bool:
    """Whether a layer loses more than the width of its codes has to lose.

    b bits over a range of four to five standard deviations lose about 6.02 b - 10 dB; weights and
    inputs each may, and too much is at least twice that sum.
    """
    bits = min(layer.weight_bits or 8, layer.grid.bits if layer.grid is not None else 8)
    due: float = 10 ** (-(6.02 * bits - 10) / 10)
    return layer.added > 4 * due


def is_narrow(layer: LayerError) -> bool:
    """Whether weights of fewer than eight bits make most of what a layer adds."""
    return (layer.weight_bits or 8) < 8 and main_cause(layer) == "weights"


def too_wide(grid: Grid) -> bool:
    """Whether a grid is at least twice as wide as what was seen: a bit that is never used."""
    seen = max(grid.high, 0.0) - min(grid.low, 0.0)
    return grid.clip_high - grid.clip_low >= 2 * seen
