"""Affine quantization: real = scale * (code - zero_point), as pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """One scale and zero point for a whole tensor; codes are of the zero point's type."""

    scale: np.float32
    zero_point: np.uint8 | np.int8


def affine_of_range(low: float, high: float) -> Affine:
    """Scale and zero point of uint8 codes for values in [low, high] (Jacob et al. 2018, eq. 1).

    The range is widened to hold zero, so that zero (padding, ReLU) is exact, and the zero point
    is 0 when no value is negative.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if high == low:
        return Affine(np.float32(1.0), np.uint8(0))
    scale = np.float32((high - low) / 255.0)
    # Never a hair beyond `high`, so that a Clip to `high` is known to change nothing.
    if float(scale) * 255.0 > high - low:
        scale = np.nextafter(scale, np.float32(0.0))
    if scale < np.finfo(np.float32).tiny:
        return Affine(np.float32(1.0), np.uint8(0))
    zero_point = np.uint8(np.clip(np.rint(-low / float(scale)), 0, 255))
    return Affine(scale, zero_point)


def symmetric_channels(weight: Floats, axis: int, bits: int = 8) -> tuple[NDArray[np.int8], Floats]:
    """Signed codes and one scale per channel of `axis`, zero point 0.

    `bits` of 8 uses codes -127..127, 7 uses -63..63: never the lowest code, so that the grid is
    symmetric (Jacob et al. 2018, section 3).

    Returns:
        Codes of the weight's shape, int8; scales `[channels]`, float32. A channel of zeros, or of
        numbers too small for a scale, has scale 1.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    largest = np.abs(weight).max(axis=others, initial=0.0)
    scales = (largest / largest_code(bits)).astype(np.float32)
    scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1.0), scales)
    return channel_codes(weight, axis, scales, bits), scales


def channel_codes(weight: Floats, axis: int, scales: Floats, bits: int = 8) -> NDArray[np.int8]:
    """Signed codes of a weight at given scales, one per channel of `axis`."""
    limit = largest_code(bits)
    steps = np.rint(weight / along(scales, axis, weight.ndim))
    codes: NDArray[np.int8] = np.clip(steps, -limit, limit).astype(np.int8)
    return codes


def largest_code(bits: int) -> int:
    """The end of a symmetric signed grid: 127 for 8 bits, 63 for 7."""
    return int(2 ** (bits - 1)) - 1


def bias_codes(bias: Floats, scales: Floats) -> NDArray[np.int32] | None:
    """A bias as int32 at the product of activation and weight scales, or None on overflow.

    Half the int32 range is left to the sums that are added to it.
    """
    if not bias.size:
        return np.zeros(bias.shape, np.int32)
    if not scales.all():
        return None
    codes = np.rint(bias.astype(np.float64) / scales.astype(np.float64))
    if np.abs(codes).max() >= 2**30:
        return None
    return codes.astype(np.int32)


def along(vector: NDArray[Any], axis: int, rank: int) -> NDArray[Any]:
    """A vector reshaped to broadcast along one axis of a tensor of that rank."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)
