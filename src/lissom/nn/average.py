"""The exponential moving average of a network's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class Average:
    """A copy of a network whose weights follow it: w <- d w + (1 - d) w_now after every step.

    The decay d is at most (1 + step) / (10 + step), so that the first weights do not linger (as
    in TensorFlow's ExponentialMovingAverage; Polyak and Juditsky, 1992, for the average itself).
    Floating buffers (batch statistics) are averaged too, others copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Follow the network after its optimizer step `step` (from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        pairs = [
            *zip(self.module.parameters(), module.parameters(), strict=True),
            *zip(self.module.buffers(), module.buffers(), strict=True),
        ]
        for mine, new in pairs:
            if mine.is_floating_point():
                mine.lerp_(new, weight)
            else:
                mine.copy_(new)
