"""Codes of least squared error at a layer's output: pure mathematics, from second moments.

With x^ what a layer reads, weights W^ = s q (scales s per output channel, integer codes q) and the
continuous optimum T = W + E[e x^T] H^-1 (see moments.py), the error is, up to a constant,
(W^ - T) H (W^ - T)^T with H = E[x^ x^T]: a closest vector problem for each output channel.
Rounding to the nearest is its solution for a diagonal H only (Nagel et al., Up or Down? Adaptive
Rounding, 2020, eq. 13). Found is a good solution: greedily, one input after another with the
rest making up for it (Frantar et al., GPTQ, 2023, eq. 2 and 3), then better by cyclic descent over
single codes (Behdin et al., QuantEase, 2023) and least squares for the scales.

Everything is batched over g groups of o output channels and d inputs; arrays are float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lissom.targets.pairing import LARGEST_PAIR

Array = NDArray[np.float64]

# Inputs whose codes change before the rest of the rows is brought up to date.
BLOCK = 128
# More than these, and descent and scales in turn several times, gained nothing on networks.
SWEEPS = 4


@dataclass(frozen=True)
class Box:
    """Codes from `low` to `high`, with `odd` the odd numbers among them alone.

    Where `paired`, neighbours 2i and 2i+1 are exact in sum.
    """

    low: int
    high: int
    paired: bool = False
    odd: bool = False

    def nearest(self, steps: Array, partners: Array | None) -> Array:
        """The allowed integers nearest to `steps`, beside what their partners are now."""
        low: Array | float = self.low
        high: Array | float = self.high
        if self.paired and partners is not None:
            low = np.maximum(low, -LARGEST_PAIR - np.minimum(partners, 0.0))
            high = np.minimum(high, LARGEST_PAIR - np.maximum(partners, 0.0))
        whole = 2 * np.rint((steps - 1) / 2) + 1 if self.odd else np.rint(steps)
        found: Array = np.minimum(np.maximum(whole, low), high)
        return found


def _partner(codes: Array, column: int) -> Array | None:
    """The codes `[g, o]` whose products are added to those of a column; None for an odd last."""
    other = column ^ 1
    return codes[..., other] if other < codes.shape[-1] else None


def _partners(codes: Array) -> Array:
    """The same for all columns of a block that begins with a pair."""
    found = np.zeros_like(codes)
    even = codes.shape[-1] // 2 * 2
    found[..., 0:even:2], found[..., 1:even:2] = codes[..., 1:even:2], codes[..., 0:even:2]
    return found


def damped(xx: Array, ridge: float) -> Array:
    """H with `ridge` mean variances of an input added to its diagonal."""
    size = xx.shape[-1]
    mean = np.trace(xx, axis1=1, axis2=2) / size
    level = np.maximum(ridge * mean, np.finfo(np.float32).tiny)
    found: Array = xx + level[:, None, None] * np.eye(size)
    return found


def optimum(weights: Array, xx: Array, ex: Array, ridge: float) -> Array:
    """The continuous weights T `[g, o, d]` of least error.

    `ridge` holds on to the float weights where data say little.
    """
    change = np.linalg.solve(damped(xx, ridge), ex.swapaxes(1, 2)).swapaxes(1, 2)
    found: Array = weights + change
    return found


def excess(codes: Array, scales: Array, target: Array, system: Array) -> Array:
    """(W^ - T) H (W^ - T)^T of every channel, `[g, o]`."""
    off = codes * scales[..., None] - target
    found: Array = np.einsum("god,god->go", off @ system, off)
    return found


def rounded_greedily(target: Array, scales: Array, system: Array, box: Box) -> Array:
    """Codes `[g, o, d]` by GPTQ, the inputs of most power first.

    Raises:
        numpy.linalg.LinAlgError: H is not positive definite.
    """
    groups, _, size = target.shape
    power = np.diagonal(system, axis1=1, axis2=2).sum(axis=0)
    order = np.argsort(-power, kind="stable")
    # The upper factor U of H^-1 = U^T U says how the rest makes up for an error. Backwards it is
    # the inverse of the lower factor of H.
    backwards = order[::-1]
    lower = np.linalg.cholesky(system[:, backwards][:, :, backwards])
    upper = np.linalg.inv(lower)[:, ::-1, ::-1]
    left = target[..., order].copy()
    codes = np.zeros_like(target)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        errors = np.empty((groups, target.shape[1], stop - start))
        part = left[..., start:stop]
        for at in range(start, stop):
            column = int(order[at])
            value = part[..., at - start]
            code = box.nearest(value / scales, _partner(codes, column))
            codes[..., column] = code
            error = (value - code * scales) / upper[:, at, at][:, None]
            part[..., at - start :] -= error[..., None] * upper[:, None, at, at:stop]
            errors[..., at - start] = error
        left[..., stop:] -= errors @ upper[:, start:stop, stop:]
    return codes


def descended(
    codes: Array, scales: Array, target: Array, system: Array, box: Box, sweeps: int = SWEEPS
) -> Array:
    """Codes no single one of which has a better place, or what so many sweeps came to.

    Of each block only those columns are visited that gain by a move as things stand; what their
    moves bring about is found in the next sweep.
    """
    codes = codes.copy()
    size = codes.shape[-1]
    # The slope divided by this is the way to a code's best place, in steps.
    curvature = np.diagonal(system, axis1=1, axis2=2)[:, None] * scales[..., None]
    slope = (codes * scales[..., None] - target) @ system
    for _ in range(sweeps):
        moved = False
        for start in range(0, size, BLOCK):
            block = slice(start, min(start + BLOCK, size))
            before = codes[..., block].copy()
            part = slope[..., block].copy()
            wanted = before - part / curvature[..., block]
            gains = _better(before, box.nearest(wanted, _partners(before)), wanted) != before
            for at in np.flatnonzero(gains.any(axis=(0, 1))):
                column = start + int(at)
                old = codes[..., column].copy()
                aim = old - part[..., at] / curvature[..., column]
                new = _better(old, box.nearest(aim, _partner(codes, column)), aim)
                codes[..., column] = new
                moves = np.nonzero(new != old)
                step = ((new - old) * scales)[moves]
                part[moves] += step[:, None] * system[moves[0], column, block]
            change = (codes[..., block] - before) * scales[..., None]
            if change.any():
                moved = True
                slope += change @ system[:, block]
        if not moved:
            break
    return codes


def _better(old: Array, new: Array, wanted: Array) -> Array:
    """New codes where they are nearer; a tie is no gain, or two codes would take turns for ever."""
    found: Array = np.where(np.abs(wanted - new) < np.abs(wanted - old) - 1e-9, new, old)
    return found


def refitted(codes: Array, scales: Array, target: Array, system: Array, least: Array) -> Array:
    """The scales `[g, o]` of least error for given codes, none below `least`."""
    through = codes @ system
    power = np.einsum("god,god->go", through, codes)
    along = np.einsum("god,god->go", through, target)
    good = (power > 0) & (along > 0)
    found = np.where(good, along / np.where(good, power, 1.0), scales)
    # The file holds float32.
    return np.maximum(found.astype(np.float32).astype(np.float64), least)


def reconstruct(
    target: Array, system: Array, scales: Array, box: Box, least: Array, starts: tuple[float, ...]
) -> tuple[Array, Array]:
    """Codes and scales of small error for every channel: greedy, then descent, then the scales.

    Args:
        target: T `[g, o, d]`.
        system: H `[g, d, d]`, positive definite.
        scales: `[g, o]` to start from.
        box: which codes are allowed.
        least: `[g, o]`, scales that must not be gone below.
        starts: factors on `scales` to start from; the best end counts for each channel.

    Raises:
        numpy.linalg.LinAlgError: H is not positive definite.
    """
    best: tuple[Array, Array] | None = None
    error = np.empty(0)
    for factor in starts:
        tried = np.maximum((scales * factor).astype(np.float32).astype(np.float64), least)
        codes = rounded_greedily(target, tried, system, box)
        codes = descended(codes, tried, target, system, box)
        tried = refitted(codes, tried, target, system, least)
        found = excess(codes, tried, target, system)
        if best is None:
            best, error = (codes, tried), found
            continue
        better = found < error
        best[0][better], best[1][better] = codes[better], tried[better]
        error = np.minimum(found, error)
    assert best is not None
    return best
