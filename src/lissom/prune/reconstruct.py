"""Least squares for what is left of a layer, and what each removal costs: pure mathematics.

A layer is y = W x + b. Removing inputs leaves columns of x; the rest of W is solved again so that
y stays as near as it can on calibration data (He, Zhang and Sun, Channel Pruning for Accelerating
Very Deep Neural Networks, 2017, eq. 4 and section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Tensor = torch.Tensor
# How firmly a fit holds on to the weights that were there, in mean variances of an input.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


class Moments:
    """Sums over samples from which any least-squares fit follows; memory does not grow with them.

    `inputs` is the number of columns of x, `outputs` that of y. All sums are float64.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.count = 0
        self._x = torch.zeros(inputs, dtype=torch.float64)
        self._y = torch.zeros(outputs, dtype=torch.float64)
        self._xx = torch.zeros(inputs, inputs, dtype=torch.float64)
        self._xy = torch.zeros(inputs, outputs, dtype=torch.float64)
        self._yy = 0.0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add samples: x (samples, inputs), y (samples, outputs)."""
        x, y = x.detach().double(), y.detach().double()
        self.count += len(x)
        self._x += x.sum(0)
        self._y += y.sum(0)
        self._xx += x.T @ x
        self._xy += x.T @ y
        self._yy += float(y.square().sum())

    def take(self, others: Moments) -> None:
        """Add the samples that other sums have seen."""
        self.count += others.count
        self._x += others._x
        self._y += others._y
        self._xx += others._xx
        self._xy += others._xy
        self._yy += others._yy

    def error(self, weights: Tensor, constant: Tensor) -> float:
        """Mean |y - W x - b|^2 over the samples: W (outputs, inputs), b (outputs,)."""
        missing = self._y - weights @ self._x
        total = self._yy - 2 * (weights * self._xy.T).sum() + (weights @ self._xx * weights).sum()
        total = total - 2 * (constant * missing).sum() + self.count * constant.square().sum()
        return float(total) / self.count

    def means(self) -> tuple[Tensor, Tensor]:
        """The mean of x and of y."""
        return self._x / self.count, self._y / self.count

    def covariances(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """E[x x^T] and E[x y^T], about the means where centred."""
        xx, xy = self._xx / self.count, self._xy / self.count
        if centred:
            x, y = self.means()
            xx, xy = xx - torch.outer(x, x), xy - torch.outer(x, y)
        return xx, xy


def solve(
    moments: Moments, prior: Tensor, *, ridge: float, intercept: bool
) -> tuple[Tensor, Tensor]:
    """Weights (outputs, inputs) and intercept (outputs,) of the nearest layer, in float64.

    Minimises mean |y - W x - b|^2 + r |W - prior|^2, where r is `ridge` times the mean variance of
    an input: directions that the data do not show stay as they were. Without an intercept b is 0.
    """
    prior = prior.double()
    xx, xy = moments.covariances(centred=intercept)
    size = len(xx)
    penalty = ridge * float(xx.diagonal().mean())
    system = xx + max(penalty, torch.finfo(torch.float64).tiny) * torch.eye(size, dtype=xx.dtype)
    change = _positive_solve(system, xy - xx @ prior.T)
    weights = prior + change.T
    if not intercept:
        return weights, torch.zeros(len(prior), dtype=torch.float64)
    x, y = moments.means()
    return weights, y - weights @ x


def best_fit(
    moments: Moments, held_out: Moments, prior: Tensor, constant: Tensor, *, intercept: bool
) -> tuple[Tensor, Tensor] | None:
    """The fit on all samples, as firm as the held-out ones say; None where the prior is better.

    Every strength of `RIDGES` is fitted on `moments` and judged on `held_out`. Few samples tell
    little about many weights: there a firm hold on the prior wins, or the prior (outputs, inputs)
    with its `constant` (outputs,) does. `moments` then has all samples.
    """
    errors = {}
    if held_out.count:
        for ridge in RIDGES:
            fitted = solve(moments, prior, ridge=ridge, intercept=intercept)
            errors[ridge] = held_out.error(*fitted)
        if min(errors.values()) >= held_out.error(prior.double(), constant.double()):
            return None
    moments.take(held_out)
    ridge = min(RIDGES, key=lambda each: errors.get(each, 0.0))
    return solve(moments, prior, ridge=ridge, intercept=intercept)


def _positive_solve(system: Tensor, right: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(system)
    if int(failed):
        solution: Tensor = torch.linalg.lstsq(system, right, driver="gelsd").solution
    else:
        solution = torch.cholesky_solve(right, factor)
    return solution


class Gram:
    """The covariance of x from a stream of samples, or its diagonal alone. Sums are float64."""

    def __init__(self, inputs: int, *, diagonal: bool = False) -> None:
        self.count = 0
        self.diagonal = diagonal
        self._x = torch.zeros(inputs, dtype=torch.float64)
        self._xx = torch.zeros((inputs,) if diagonal else (inputs, inputs), dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Add samples (samples, inputs)."""
        x = x.double()
        self.count += len(x)
        self._x += x.sum(0)
        self._xx += x.square().sum(0) if self.diagonal else x.T @ x

    def covariance(self) -> Tensor:
        """(inputs, inputs), or (inputs,) where only the diagonal was kept."""
        mean = self._x / self.count
        return self._xx / self.count - (mean.square() if self.diagonal else torch.outer(mean, mean))


@dataclass
class Reader:
    """A layer that reads the channels of a group, while they are removed one by one.

    Attributes:
        weight: (outputs, columns), changed by every removal to the best that is left.
        inverse: the inverse of the columns' covariance among those that are left.
        blocks: (channels, columns per channel): where each channel's columns are.
    """

    weight: Tensor
    inverse: Tensor
    blocks: Tensor

    @classmethod
    def of(cls, weight: Tensor, covariance: Tensor, blocks: Tensor, *, ridge: float) -> Reader:
        """A reader scaled so that losing its whole output costs 1."""
        weight = weight.double()
        energy = float(torch.einsum("ij,jk,ik->", weight, covariance, weight))
        size = len(covariance)
        mean = float(covariance.diagonal().mean())
        eye = torch.eye(size, dtype=torch.float64)
        system = covariance + max(ridge * mean, 1e-30) * eye
        scale = max(energy, 1e-30) ** -0.5
        return cls(weight * scale, torch.linalg.inv(system), blocks)

    def costs(self) -> Tensor:
        """For each channel, what its removal adds to the error when the rest is solved again.

        tr(W_c inv(Hinv_cc) W_c^T): Hassibi and Stork, Optimal Brain Surgeon, 1993, eq. 5, for
        blocks of columns (Kurtic, Frantar and Alistarh, ZipLM, 2023, eq. 3).
        """
        inner = self.inverse[self.blocks[:, :, None], self.blocks[:, None, :]]
        read = self.weight[:, self.blocks].permute(1, 2, 0)
        eye = torch.eye(inner.shape[-1], dtype=inner.dtype)
        tiny = torch.finfo(torch.float64).tiny
        costs: Tensor = (read * torch.linalg.solve(inner + tiny * eye, read)).sum((1, 2))
        return costs

    def remove(self, channel: int) -> None:
        """Take a channel away; what remains makes up for it as well as it can."""
        block = self.blocks[channel]
        rows = self.inverse[block]
        solved = torch.linalg.solve(rows[:, block], rows)
        self.weight = self.weight - self.weight[:, block] @ solved
        self.inverse = self.inverse - rows.T @ solved
        self.weight[:, block] = 0
        self.inverse[block] = 0
        self.inverse[:, block] = 0
        self.inverse[block, block] = 1


@dataclass(frozen=True)
class LoneReader:
    """A layer too wide to solve, or grouped: each channel's cost is what it alone brings."""

    alone: Tensor

    @classmethod
    def of(cls, weight: Tensor, variances: Tensor, blocks: Tensor) -> LoneReader:
        """`variances` (columns,) are those of the inputs."""
        energy = weight.double().square() * variances
        return cls(energy[:, blocks].sum((0, 2)) / max(float(energy.sum()), 1e-30))

    def costs(self) -> Tensor:
        """For each channel, its share of the output's energy."""
        return self.alone

    def remove(self, channel: int) -> None:
        """Take a channel away; nothing makes up for it."""


def removal_order(
    readers: Sequence[Reader | LoneReader], channels: int
) -> tuple[list[int], list[float]]:
    """Channels from the cheapest to the dearest to remove, each after those before it.

    Returns:
        The order, and what each removal adds to the readers' relative errors.
    """
    left = torch.ones(channels, dtype=torch.bool)
    order, costs = [], []
    for _ in range(channels):
        total = torch.stack([reader.costs() for reader in readers]).sum(0)
        total[~left] = torch.inf
        chosen = int(total.argmin())
        order.append(chosen)
        costs.append(max(float(total[chosen]), 0.0))
        left[chosen] = False
        for reader in readers:
            reader.remove(chosen)
    return order, costs
