"""Integer weights of one layer in its own shape, as wide as the kernel that reads them allows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lissom.quantize import clipped
from lissom.quantize.affine import channel_codes, symmetric_channels
from lissom.quantize.pairs import codes_at, fit
from lissom.quantize.weight_range import ODD_BITS, WeightGrid
from lissom.targets.pairing import Layout

Floats = NDArray[np.float32]


def integer_weights(
    weight: Floats,
    layout: Layout,
    grid: WeightGrid,
    *,
    least: Floats | None = None,
) -> tuple[NDArray[np.int8], Floats]:
    """Codes of the weight's shape and one scale per output channel.

    Args:
        weight: as the operator reads it.
        layout: how its kernel does.
        grid: which codes there are.
        least: `[channels]`, scales that must not be gone below, as a bias may ask for.
    """
    if grid.bits < 8:
        rows = np.ascontiguousarray(layout.rows(weight))
        levels, codes, scales = _fewest_errors(rows, grid)
        if least is not None and (least > scales).any():
            scales = np.maximum(scales, least)
            codes = clipped.codes_at(rows, scales, levels)
        return np.ascontiguousarray(layout.shaped(codes, weight.shape)), scales
    if grid.span != "pairs" or not layout.paired:
        # The largest weight sets the scale. Scales of least squared error, which may cut it off,
        # were tried: 31.1 dB against 31.4 dB at the output of ResNet-20 (benchmarks/saturation.py).
        bits = 7 if grid.span == "reduced" else 8
        codes, scales = symmetric_channels(weight, layout.axis, bits=bits)
        if least is not None and (least > scales).any():
            scales = np.maximum(scales, least)
            codes = channel_codes(weight, layout.axis, scales, bits=bits)
        return codes, scales
    rows = np.ascontiguousarray(layout.rows(weight))
    codes, scales = fit(rows)
    if least is not None and (least > scales).any():
        scales = np.maximum(scales, least)
        codes = codes_at(rows, scales)
    return np.ascontiguousarray(layout.shaped(codes, weight.shape)), scales


def is_odd(codes: NDArray[np.int8], grid: WeightGrid) -> bool:
    """Whether codes are of the grid of odd numbers."""
    return grid.bits in ODD_BITS and bool((codes % 2).all())


def _fewest_errors(
    rows: Floats, grid: WeightGrid
) -> tuple[clipped.Levels, NDArray[np.int8], Floats]:
    """Codes and scales on the grid with the least squared error over all channels."""
    best = clipped.Levels(*grid.ends())
    codes, scales = clipped.fit(rows, best)
    if grid.bits in ODD_BITS:
        odd = clipped.Levels(*grid.ends(odd=True), odd=True)
        other_codes, other = clipped.fit(rows, odd)
        if clipped.errors(rows, other, odd).sum() < clipped.errors(rows, scales, best).sum():
            return odd, other_codes, other
    return best, codes, scales
