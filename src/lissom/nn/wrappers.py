"""Torch modules around a network, to be imported where torch is: chosen outputs, pooling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Flat(nn.Module):
    """A network as a function of positional tensors that returns a tuple of tensors."""

    def __init__(self, module: nn.Module, names: Sequence[str], keywords: bool) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)
        self.keywords = keywords

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The network's output tensors in the order it returns them."""
        return tuple(self.named(*inputs).values())

    def named(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same with the names they have, or output_0, output_1... where they have none."""
        if self.keywords:
            result = self.module(**dict(zip(self.names, inputs, strict=True)))
        else:
            result = self.module(*inputs)
        return dict(_flatten("", result))


def _flatten(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name or "output", value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flatten(f"{name}_{key}" if name else str(key), part)
    elif isinstance(value, (tuple, list)):
        for index, part in enumerate(value):
            yield from _flatten(f"{name or 'output'}_{index}", part)


class Chosen(nn.Module):
    """A Hugging Face model that returns only the outputs it is asked for."""

    def __init__(
        self, model: nn.Module, outputs: Sequence[str], arguments: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.model = model
        self.outputs = tuple(outputs)
        self.arguments = dict(arguments)

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The chosen outputs by name."""
        result = self.model(**inputs, **self.arguments)
        return {name: result[name] for name in self.outputs}


class SentenceEncoder(nn.Module):
    """A transformer, its pooling and what follows, so that the output is the embedding.

    Pooling as in Reimers and Gurevych, Sentence-BERT (2019), section 3, with the constants of
    the sentence-transformers package.
    """

    def __init__(self, model: nn.Module, poolings: Sequence[str], tail: Sequence[nn.Module]):
        super().__init__()
        self.model = model
        self.poolings = tuple(poolings)
        self.tail = nn.Sequential(*tail)

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The embeddings, shape (batch, width)."""
        tokens = self.model(**inputs)[0]
        mask = inputs["attention_mask"].unsqueeze(-1).to(tokens.dtype)
        pooled = [pool(tokens, mask, way) for way in self.poolings]
        return {"sentence_embedding": self.tail(torch.cat(pooled, dim=1))}


def pool(tokens: torch.Tensor, mask: torch.Tensor, way: str) -> torch.Tensor:
    """One vector per sequence: tokens (batch, sequence, width), mask (batch, sequence, 1)."""
    if way == "cls":
        return tokens[:, 0]
    if way == "max":
        return tokens.masked_fill(mask == 0, -1e9).amax(dim=1)
    total = (tokens * mask).sum(dim=1)
    return total / mask.sum(dim=1).clamp(min=1e-9)


class Normalize(nn.Module):
    """Scale each vector to length 1."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors (batch, width) of Euclidean length 1."""
        return nn.functional.normalize(vectors, p=2.0, dim=1)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every part is given its own mode back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
