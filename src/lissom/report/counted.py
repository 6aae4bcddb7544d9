"""What counts on the processor that a diagnosis is for, and what would count elsewhere."""

from __future__ import annotations

from lissom.report.diagnosis import Diagnosis, LayerError, Shift

# Of the added error, from which on what would saturate elsewhere is worth a word.
WORTH = 0.1
# Calibration and validation data differ where their distance is so many times that of two halves
# of the calibration data, and so large in itself.
TIMES, APART = 3.0, 0.05


def layers_counted(found: Diagnosis) -> tuple[LayerError, ...]:
    """The layers, without parts of their added errors that count for nothing.

    Those are sums that do not saturate on the processor asked for, and a bias that differs but
    lessens the output's error: it was corrected for what layers before it lose.
    """
    return tuple(_counted(layer, found.pair_sums) for layer in found.layers)


def _counted(layer: LayerError, pair_sums: bool) -> LayerError:
    parts = layer.parts
    if parts.saturation and not pair_sums:
        parts = parts.model_copy(update={"saturation": 0.0})
    without = layer.gains.get("bias")
    if parts.bias and without is not None and without.part + without.error <= 0:
        parts = parts.model_copy(update={"bias": 0.0})
    return layer if parts is layer.parts else layer.model_copy(update={"parts": parts})


def saturating_elsewhere(found: Diagnosis) -> list[LayerError]:
    """Layers that would lose more on a processor that adds in 16 bits, the most first."""
    if found.pair_sums:
        return []
    more = [one for one in found.layers if one.parts.saturation > max(1e-6, WORTH * one.added)]
    return sorted(more, key=lambda layer: -layer.parts.saturation)


def telling_shifts(found: Diagnosis) -> list[Shift]:
    """Tensors on which calibration and validation data differ by more than chance, the most first.

    Distances are total variations; see `Shift`.
    """
    telling = [
        each
        for each in found.shifts
        if each.distance > max(APART, TIMES * each.usual) or each.beyond > 0.01 + each.beyond_before
    ]
    return sorted(telling, key=lambda each: -each.distance)
