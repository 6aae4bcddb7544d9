"""How a network takes a batch of named tensors, and which of what it returns is the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lissom.errors import ModelError
from lissom.nn.wrappers import Flat


@dataclass(frozen=True)
class Call:
    """Calls a network: its input names in order, and whether it takes them by name.

    A batch may hold more than the network takes.
    """

    names: tuple[str, ...]
    keywords: bool = False

    def __call__(self, module: nn.Module, batch: Mapping[str, torch.Tensor]) -> Any:
        """What the network returns for the batch."""
        if self.keywords:
            return module(**{name: batch[name] for name in self.names})
        return module(*(batch[name] for name in self.names))

    def named(
        self, module: nn.Module, batch: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """All output tensors, under the names an export gives them."""
        flat = Flat(module, self.names, self.keywords)
        return flat.named(*(batch[name] for name in self.names))


def answer_of(result: Any) -> torch.Tensor:
    """The first floating tensor of what a network returned, which losses and metrics look at.

    Raises:
        ModelError: there is none.
    """
    for tensor in _tensors(result):
        if tensor.is_floating_point():
            return tensor
    raise ModelError(
        f"the network returns {type(result).__name__!r} without a floating tensor",
        fix="return the logits or the embedding as a tensor, or in a dict",
    )


def _tensors(result: Any) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, Mapping):
        for part in result.values():
            yield from _tensors(part)
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from _tensors(part)
