"""Channels that the compressed network carries at another scale, as equalization leaves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.quantize.affine import along

Array = NDArray[Any]
# Relative squared difference from which a tensor is looked at, and that which scaling may leave.
APART, EXPLAINED = 1e-2, 1e-2
# Of that difference scaling leaves less; a line fitted to what coarse weights lose leaves more.
LEFT = 0.1
# Positions of each channel that a line is fitted to at least.
FEWEST = 16
# How far factors are from one another, as a ratio, where they are no fault of one grid.
SPREAD = 1.05


@dataclass(frozen=True)
class Scaling:
    """Each channel is `factor` times the original's, plus `offset`.

    Attributes:
        factor, offset: `[channels]`.
        axis: of the channels.
    """

    factor: NDArray[np.float32]
    offset: NDArray[np.float32]
    axis: int

    def apply(self, array: Array) -> Array:
        """The compressed network's form of the original's tensor."""
        factor, offset = (along(v, self.axis, array.ndim) for v in (self.factor, self.offset))
        scaled: Array = (array * factor + offset).astype(array.dtype)
        return scaled

    def undo(self, array: Array) -> Array:
        """The original's form of the compressed network's tensor."""
        factor, offset = (along(v, self.axis, array.ndim) for v in (self.factor, self.offset))
        plain: Array = ((array - offset) / factor).astype(array.dtype)
        return plain


def scaling(truth: Array, found: Array, axis: int | None) -> Scaling | None:
    """How channels are scaled, or None where that is not what tells two tensors apart.

    A line is fitted for each channel (least squares). It counts when it leaves no more than a
    hundredth of the power and a tenth of the difference, and channels are scaled each in its own
    way: a factor that all share, or a shift alone, is an error and not a form.

    Args:
        truth: the original's tensor on a sample.
        found: the compressed network's, of the same shape.
        axis: of their channels, None where they have none.
    """
    truth, found = (np.asarray(each, np.float64) for each in (truth, found))
    if truth.shape != found.shape or truth.ndim < 2 or axis is None:
        return None
    power = float(np.square(truth).sum())
    apart = float(np.square(found - truth).sum())
    if not np.isfinite(power) or apart <= APART * power:
        return None
    one, other = (
        np.moveaxis(each, axis, 0).reshape(each.shape[axis], -1) for each in (truth, found)
    )
    means = one.mean(axis=1), other.mean(axis=1)
    centred = one - means[0][:, None], other - means[1][:, None]
    powers = np.square(centred[0]).sum(axis=1)
    if one.shape[1] < FEWEST:
        return None
    alive = powers > 1e-12 * powers.max(initial=0.0)
    if alive.sum() < 2:
        return None
    factor = np.ones(len(one))
    products = (centred[0] * centred[1]).sum(axis=1)
    factor[alive] = products[alive] / powers[alive]
    if (factor <= 0).any() or not _differ(factor[alive]):
        return None
    offset = means[1] - factor * means[0]
    left = (other - factor[:, None] * one - offset[:, None]) / factor[:, None]
    if np.square(left).sum() > min(EXPLAINED * power, LEFT * apart):
        return None
    return Scaling(factor.astype(np.float32), offset.astype(np.float32), axis)


def _differ(factors: Array) -> bool:
    """Whether a quarter of the channels or more are scaled otherwise than the middle one."""
    ratio = factors / np.median(factors)
    return bool((np.maximum(ratio, 1 / ratio) > SPREAD).mean() >= 0.25)
