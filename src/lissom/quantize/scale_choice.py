"""Factors for the channels between two layers, and the error that a layer is left with.

Pure functions of arrays. Channels are divided by their factor, the weights that read them are
multiplied by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lissom.quantize.affine import affine_of_range
from lissom.quantize.histogram import Histogram
from lissom.quantize.integer_weights import integer_weights
from lissom.quantize.ranges import auto_range
from lissom.quantize.weight_range import WeightGrid
from lissom.targets.pairing import Layout

Floats = NDArray[np.float32]
Factors = NDArray[np.float64]
Numbers = NDArray[np.intp]

# What is smaller, as a share of the largest, counts as if it were as large. A channel that stayed
# near zero on the calibration data needs no place of its own on a grid, and may not stay there.
LEAST_SHARE = 1e-2
# Equalization has converged when no factor changes by more than this share.
CONVERGED = 1e-4
MOST_ROUNDS = 200


@dataclass(frozen=True)
class Sample:
    """What is known of one layer.

    Attributes:
        rows: `[n, groups, depth]`, some of what it multiplies, from one half of the data.
        weight: `[groups, outputs of a group, depth]`.
        owners: `[groups, depth]`, the channel that each column belongs to.
        low, high: `[channels]`, extremes of the channels over the other half.
    """

    rows: Floats
    weight: Floats
    owners: Numbers
    low: Floats
    high: Floats

    def pull(self) -> Factors:
        """The largest weight of each channel, as a share of the largest of its output channel.

        A factor of an output channel changes nothing in it: weights have a scale for each.
        """
        largest = np.abs(self.weight).max(axis=2, keepdims=True)
        share = (np.abs(self.weight) / np.where(largest > 0, largest, 1)).max(axis=1)
        found = np.zeros(len(self.low), np.float64)
        np.maximum.at(found, self.owners.reshape(-1), share.reshape(-1))
        return found


def balanced(reach: Factors, pull: Factors, alpha: float, common: float = 0.0) -> Factors:
    """max|X|^alpha / max|W|^(1 - alpha) for each channel (Xiao et al. 2022, equation 4).

    Times a number, so that the largest magnitude of all channels stays what it is.

    Args:
        reach, pull: `[channels]`, largest magnitudes of activations and of weights.
        alpha: share of the difficulty that moves from the activations to the weights.
        common: share of the channels that count as if they reached as far as the last of them.
    """
    top = reach.max(initial=0.0)
    if top <= 0 or pull.max(initial=0.0) <= 0:
        return np.ones_like(reach)
    reach = np.maximum(reach, max(LEAST_SHARE * top, float(np.quantile(reach, common))))
    pull = np.maximum(pull, LEAST_SHARE * pull.max())
    factors = reach**alpha / pull ** (1 - alpha)
    return np.asarray(factors * (reach / factors).max() / top)


def equalized(weights: list[tuple[Factors, Numbers | None, Numbers | None]], count: int) -> Factors:
    """Factors after which what gives a channel and what reads it have one range of weights.

    s = sqrt(r1 r2) / r2 for every pair of layers (Nagel et al. 2019, equation 11), repeated until
    nothing moves. Half of each step is taken, because all pairs are moved at once.

    Args:
        weights: of each layer its magnitudes, and the numbers of the factors it is multiplied and
            divided by, each of a shape that broadcasts to the weight's.
        count: how many factors there are; number 0 stays 1.

    Returns:
        `[count]`.
    """
    logs = np.zeros(count)
    for _ in range(MOST_ROUNDS):
        made, read = np.zeros(count), np.zeros(count)
        for magnitudes, before, after in weights:
            now = magnitudes.copy()
            if before is not None:
                now *= np.exp(logs[before])
            if after is not None:
                now /= np.exp(logs[after])
            for into, numbers in ((read, before), (made, after)):
                if numbers is not None:
                    spread = np.broadcast_to(numbers, now.shape)
                    np.maximum.at(into, spread.reshape(-1), now.reshape(-1))
        both = (made > 0) & (read > 0)
        both[0] = False
        step = np.where(both, np.log(np.where(both, made, 1) / np.where(both, read, 1)) / 4, 0.0)
        logs += step
        if np.abs(step).max() < CONVERGED:
            break
    return np.asarray(np.exp(logs))


def noise(
    sample: Sample,
    wanted: Floats,
    factors: Factors,
    weights: WeightGrid,
    *,
    symmetric: bool = False,
) -> float:
    """Share of the power of a layer's output that rounding its input and weights adds as error.

    The input is rounded on one grid for all channels, whose range the default observer takes from
    one half of the data, and judged on the other half; the weights on one grid for every output
    channel.

    Args:
        wanted: what the rows give, from `products`.
        factors: `[channels]` of the layer's input.
        weights: which codes there are.
        symmetric: zero is in the middle of the codes of the input.
    """
    spread = factors[sample.owners]
    rows = (sample.rows / spread).astype(np.float32)
    seen = Histogram()
    low, high = sample.low / factors, sample.high / factors
    seen.observe(np.clip(rows, low.min(), high.max()))
    seen.observe(np.concatenate((low, high)).astype(np.float32))
    grid = affine_of_range(*auto_range(seen, symmetric=symmetric))
    zero = np.float32(grid.zero_point)
    codes = np.clip(np.rint(rows / grid.scale) + zero, 0, 255) - zero
    weight = (sample.weight * spread[:, None]).astype(np.float32)
    flat = weight.reshape(-1, weight.shape[-1])
    integers, scales = integer_weights(flat, Layout(axis=0, paired=True), weights)
    rounded = (integers * scales[:, None]).reshape(weight.shape)
    given = products(codes * grid.scale, rounded)
    power = float(np.square(wanted, dtype=np.float64).sum())
    return float(np.square(given - wanted, dtype=np.float64).sum()) / power if power else 0.0


def products(rows: Floats, weight: Floats) -> Floats:
    """Rows `[n, groups, depth]` times weights `[groups, outputs, depth]`."""
    found: Floats = np.matmul(rows.transpose(1, 0, 2), weight.transpose(0, 2, 1))
    return found
