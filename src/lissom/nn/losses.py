"""Losses as functions of tensors; all of them are means over samples, in float32 or wider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from lissom.errors import TaskError
from lissom.nn.calls import answer_of

IGNORED = -100


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of -log softmax(logits)[target]: logits (..., classes), integer targets (...).

    Targets of -100 are left out, as in torch.
    """
    classes = logits.shape[-1]
    flat = _wide(logits).reshape(-1, classes)
    return functional.cross_entropy(flat, targets.reshape(-1).long(), ignore_index=IGNORED)


def softened_kl(
    teacher: torch.Tensor,
    student: torch.Tensor,
    temperature: float,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)): summed over classes, mean over samples.

    Logits (..., classes); `mask` (...) is 0 where a position counts for nothing. T^2 keeps the
    gradient as large as that of labels (Hinton, Vinyals and Dean, Distilling the Knowledge in a
    Neural Network, 2015, section 2).
    """
    wanted = functional.log_softmax(_wide(teacher) / temperature, dim=-1)
    given = functional.log_softmax(_wide(student) / temperature, dim=-1)
    each = functional.kl_div(given, wanted, reduction="none", log_target=True).sum(dim=-1)
    return temperature**2 * _mean(each, mask)


def cosine_distance(
    teacher: torch.Tensor, student: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """1 - cos(teacher, student) along the last axis, mean over samples."""
    each = 1 - functional.cosine_similarity(_wide(teacher), _wide(student), dim=-1)
    return _mean(each, mask)


def squared_error(
    teacher: torch.Tensor, student: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """(teacher - student)^2, mean over the last axis and over samples."""
    each = (_wide(teacher) - _wide(student)).square()
    return _mean(each.mean(dim=-1) if each.dim() > 1 else each, mask)


def task_loss(
    loss: Callable[[Any, Any], Any] | None,
) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """The user's loss; or cross entropy for integer targets, and mse for floating ones."""
    return default_loss if loss is None else loss


def default_loss(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the first floating output for integer targets, mse for floating ones.

    Raises:
        TaskError: the targets' shape does not fit the output's.
    """
    answer = answer_of(outputs)
    if not targets.is_floating_point():
        if answer.shape[:-1] != targets.shape:
            raise _unlike(answer, targets, "one class number for each of the output's rows")
        return cross_entropy(answer, targets)
    if answer.shape != targets.shape and answer.shape == (*targets.shape, 1):
        answer = answer.squeeze(-1)
    if answer.shape != targets.shape:
        raise _unlike(answer, targets, "targets of the output's shape")
    return functional.mse_loss(_wide(answer), targets.to(_wide(answer).dtype))


def _unlike(answer: torch.Tensor, targets: torch.Tensor, wanted: str) -> TaskError:
    return TaskError(
        f"the network's output has shape {tuple(answer.shape)} and the targets "
        f"{tuple(targets.shape)} ({targets.dtype})",
        where="train",
        fix=f"give {wanted}, or Task(..., loss=your own)",
    )


def _mean(each: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if mask is None:
        return each.mean()
    weight = mask.to(each.dtype)
    return (each * weight).sum() / weight.sum().clamp(min=1)


def _wide(values: torch.Tensor) -> torch.Tensor:
    """Half precision has too few digits for a logarithm of a sum."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
