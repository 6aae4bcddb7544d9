"""How much each channel of a group matters: pure functions of its weights, scales and gradients.

An importance takes the `Evidence` of one group and returns a score per channel; the lowest go
first. A function of one's own does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lissom.errors import unknown
from lissom.prune.structured import RECONSTRUCTION

Tensor = torch.Tensor


@dataclass(frozen=True)
class Evidence:
    """What is known of a group's channels; every tensor has one row per channel.

    Attributes:
        name: the group's first layer.
        made: the weights that make the channels, one matrix per layer (channels, weights).
        used: the weights that read them, one matrix per layer.
        scales: the scales of batch norms they pass through, one vector per norm.
        slopes: weight times gradient of the loss, (channels, weights), of each batch of training
            data: one matrix per batch. Empty where nothing was trained on.
        generator: where randomness comes from.
    """

    name: str
    made: tuple[Tensor, ...]
    used: tuple[Tensor, ...]
    scales: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    generator: torch.Generator

    @property
    def channels(self) -> int:
        """How many channels the group has."""
        return len(self.made[0])


Importance = Callable[[Evidence], Tensor]


def l1(evidence: Evidence) -> Tensor:
    """Sum of absolute weights that make a channel (Li et al., Pruning Filters, 2017, section 3)."""
    return torch.stack([weights.abs().sum(1) for weights in evidence.made]).sum(0)


def l2(evidence: Evidence) -> Tensor:
    """Euclidean length of all weights that make a channel, over all its layers."""
    return torch.stack([weights.square().sum(1) for weights in evidence.made]).sum(0).sqrt()


def batch_norm(evidence: Evidence) -> Tensor:
    """Absolute scale of the batch norms (Liu et al., Network Slimming, 2017); else as l2."""
    if not evidence.scales:
        return l2(evidence)
    return torch.stack([scale.abs() for scale in evidence.scales]).sum(0)


def taylor(evidence: Evidence) -> Tensor:
    """Mean over batches of (sum of weight x gradient)^2 (Molchanov et al. 2019, eq. 8)."""
    return torch.stack([slope.sum(1).square() for slope in evidence.slopes]).mean(0)


def random(evidence: Evidence) -> Tensor:
    """A random number: what any importance has to beat."""
    return torch.rand(evidence.channels, generator=evidence.generator)


IMPORTANCES: dict[str, Importance] = {
    "l1": l1,
    "l2": l2,
    "batch_norm": batch_norm,
    "taylor": taylor,
    "random": random,
}


def importance_named(name: str) -> Importance:
    """The importance of that name.

    Raises:
        RequestError: none has it; the nearest one is offered.
    """
    try:
        return IMPORTANCES[name]
    except KeyError:
        raise unknown("importance", name, [*IMPORTANCES, RECONSTRUCTION]) from None
