"""Gives batch norms the statistics of what they see now, and changes nothing the network says.

Correction leaves the statistics of the original in norms whose inputs are others now. In
evaluation that is what it was fitted with; a training step would take the statistics of its batch
instead and throw the fit away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lissom.batches import Batches
from lissom.nn.network import TorchModel
from lissom.nn.observe import as_inputs
from lissom.technique import Track, silent

Tensor = torch.Tensor


class _Sums:
    """Count, sum and sum of squares of each channel, in float64."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.first = torch.zeros(channels, dtype=torch.float64)
        self.second = torch.zeros(channels, dtype=torch.float64)

    def add(self, entering: Tensor) -> None:
        """Add an input of shape (samples, channels, ...)."""
        values = entering.detach().double().transpose(0, 1).flatten(1)
        self.count += values.shape[1]
        self.first += values.sum(1)
        self.second += values.square().sum(1)


def settle(model: TorchModel, calibration: Batches, *, track: Track = silent) -> None:
    """Set mean and variance of every batch norm to those of its inputs on calibration data.

    Weight and bias of the norm take up the difference, so that the function in evaluation stays
    what it was, up to rounding. Norms without them, or without running statistics, stay as they
    are. In place.
    """
    norms = {
        module: _Sums(module.num_features)
        for module in model.module.modules()
        if isinstance(module, _BatchNorm) and module.affine and module.track_running_stats
    }
    if not norms:
        return
    with _adding(norms), torch.no_grad():
        for inputs in track(as_inputs(calibration, model), "settle norms", calibration.count):
            model.run(inputs)
    for norm, sums in norms.items():
        if sums.count:
            _take(norm, sums.first / sums.count, sums.second / sums.count)


@contextmanager
def _adding(norms: dict[_BatchNorm, _Sums]) -> Iterator[None]:
    handles = [
        norm.register_forward_pre_hook(lambda module, given: norms[module].add(given[0]))
        for norm in norms
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _take(norm: nn.Module, mean: Tensor, square: Tensor) -> None:
    """y = w (x - m) / s + b is the same function with other m and s, and w and b to match."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None and norm.running_var is not None
    variance = (square - mean.square()).clamp(min=0)
    before = torch.sqrt(norm.running_var.double() + norm.eps)
    after = torch.sqrt(variance + norm.eps)
    gain = norm.weight.double() / before
    norm.bias.add_(gain * (mean - norm.running_mean.double()))
    norm.weight.copy_(gain * after)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
