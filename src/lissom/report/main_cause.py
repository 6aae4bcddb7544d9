"""What makes most of a layer's error, so that table, page and verdicts name the same."""

from __future__ import annotations

from lissom.report.diagnosis import Cause, LayerError

CAUSES: tuple[Cause, ...] = (
    "weights",
    "rounding",
    "clipping",
    "bias",
    "activation",
    "saturation",
)


def main_cause(layer: LayerError) -> Cause:
    """What makes most of a layer's added error; "unexplained" where no cause makes a tenth of it.

    Of a network whose saturation does not count, take the layers that `layers_counted` gives.
    """
    largest = max(CAUSES, key=lambda cause: float(getattr(layer.parts, cause)))
    made = float(getattr(layer.parts, largest))
    return largest if made > 0 and made >= 0.1 * layer.added else "unexplained"


def part_of(layer: LayerError, cause: Cause) -> float:
    """The part of a layer's added error that a cause alone makes, at most 1."""
    if cause == "unexplained" or layer.added <= 0:
        return 0.0
    return min(1.0, float(getattr(layer.parts, cause)) / layer.added)
