"""Where a loss that is not finite comes from: the first layer, input or weight that is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lissom.errors import RunError


def diverged(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    again: Callable[[], torch.Tensor],
    *,
    loss: float,
    step: int,
    epoch: int,
) -> RunError:
    """The error for a loss that is NaN or infinite; `again()` computes it once more."""
    return RunError(
        f"the loss is {loss} at step {step} (epoch {epoch}); the network has its last good "
        "weights back",
        where=origin(module, inputs, again),
        fix="lower training.lr, or set training.clip_norm: 1.0 or training.warmup_steps; with "
        "precision bfloat16 try float32; if an input is named, clean the data",
    )


def origin(
    module: nn.Module, inputs: Mapping[str, torch.Tensor], again: Callable[[], torch.Tensor]
) -> str:
    """In words: the first input, weight or layer output that holds NaN or infinity."""
    for name, value in inputs.items():
        if not is_finite(value):
            return f"the input {name!r} of this batch holds NaN or infinity"
    weight = first_bad_weight(module)
    if weight is not None:
        return f"the weight {weight!r} is not finite: a gradient before this step was not"
    found: list[str] = []
    with _listening(module, found), torch.no_grad():
        again()
    if found:
        return found[0]
    return "every layer's output is finite: the loss itself, or the targets, are not"


def first_bad_weight(module: nn.Module) -> str | None:
    """The first parameter that holds NaN or infinity."""
    for name, parameter in module.named_parameters():
        if not is_finite(parameter):
            return name
    return None


def is_finite(value: torch.Tensor) -> bool:
    """Whether every number is; whole numbers always are."""
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


@contextmanager
def _listening(module: nn.Module, found: list[str]) -> Iterator[None]:
    """Note the first module whose output is not finite; inner ones finish before outer ones."""

    def listen(name: str, part: nn.Module) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            tensors = output if isinstance(output, (tuple, list)) else [output]
            if isinstance(output, Mapping):
                tensors = list(output.values())
            if not all(is_finite(t) for t in tensors if isinstance(t, torch.Tensor)):
                kind = type(part).__name__
                place = f"layer {name!r} ({kind})" if name else f"the forward of {kind} itself"
                found.append(f"the first output that is not finite is that of {place}")

        return hook

    handles = [
        part.register_forward_hook(listen(name, part)) for name, part in module.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
