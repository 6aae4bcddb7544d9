"""Where in an answer the classes are, and which of its positions count."""

from __future__ import annotations

import torch

from lissom.nn.losses import IGNORED


def classes_first(answer: torch.Tensor, targets: torch.Tensor | None) -> bool:
    """Whether logits are (batch, classes, ...), as in segmentation, by labels (batch, ...).

    Without labels those of four axes and more are, as torch's convolutions leave them.
    """
    if targets is None:
        return answer.dim() > 3
    if targets.is_floating_point() or answer.dim() < 3:
        return False
    return targets.shape != answer.shape[:-1] and targets.shape == (
        answer.shape[0],
        *answer.shape[2:],
    )


def counted_positions(
    answer: torch.Tensor, inputs: dict[str, torch.Tensor], targets: torch.Tensor | None
) -> torch.Tensor | None:
    """Which positions of sequence logits (batch, sequence, classes) count: not padding, and none
    whose label is left out; None where all do."""
    places = answer.shape[:-1]
    if answer.dim() < 3:
        return None
    if targets is not None and targets.shape == places and not targets.is_floating_point():
        return targets != IGNORED
    mask = inputs.get("attention_mask")
    return mask if mask is not None and mask.shape == places else None
