"""Cut tensors of a network down to what is kept; modules are told their new sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

NORMS = (nn.modules.batchnorm._NormBase,)
CONVOLUTIONS = (nn.modules.conv._ConvNd,)


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers by name, under every name they have."""
    found: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    found.update(module.named_buffers(remove_duplicate=False))
    return found


def cut(module: nn.Module, cuts: Sequence[tuple[str, int, Sequence[int]]]) -> None:
    """Keep the given positions along the axes of tensors, `(name, axis, kept)`, in place.

    Tied tensors stay tied. Sizes that modules remember are set from their tensors afterwards.
    """
    tensors = tensors_of(module)
    names: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    wanted: dict[str, torch.Tensor] = {}
    for name, axis, kept in cuts:
        aliases = names[id(tensors[name])]
        tensor = wanted.get(aliases[0], tensors[name].detach())
        index = torch.tensor(list(kept), dtype=torch.long, device=tensor.device)
        wanted[aliases[0]] = tensor.index_select(axis, index).contiguous()
    before = {name: _sizes(part) for name, part in module.named_modules()}
    for first, tensor in wanted.items():
        old = tensors[first]
        new = (
            nn.Parameter(tensor, requires_grad=old.requires_grad)
            if isinstance(old, nn.Parameter)
            else tensor
        )
        for alias in names[id(old)]:
            owner, _, attribute = alias.rpartition(".")
            setattr(module.get_submodule(owner), attribute, new)
    for name, part in module.named_modules():
        _resize(part, before[name])


def _sizes(part: nn.Module) -> Mapping[str, int]:
    if isinstance(part, CONVOLUTIONS):
        return {"inner": part.weight.shape[1], "per_group": part.out_channels // part.groups}
    return {}


def _resize(part: nn.Module, before: Mapping[str, int]) -> None:
    """Set a module's sizes from its weight, so that it prints and computes what it is."""
    if isinstance(part, CONVOLUTIONS):
        first, second = part.weight.shape[:2]
        if part.transposed:
            part.in_channels, part.out_channels = first, second * part.groups
            return
        if before["inner"] == 1 and part.groups > 1:
            part.groups = first // before["per_group"]
        part.in_channels, part.out_channels = second * part.groups, first
    elif isinstance(part, nn.Linear):
        part.out_features, part.in_features = part.weight.shape
    elif isinstance(part, nn.Embedding):
        part.num_embeddings, part.embedding_dim = part.weight.shape
    elif isinstance(part, NORMS):
        known = part.weight if part.weight is not None else part.running_mean
        if known is not None:
            part.num_features = known.shape[0]
    elif isinstance(part, (nn.LayerNorm, nn.RMSNorm)) and part.weight is not None:
        part.normalized_shape = tuple(part.weight.shape)
    elif isinstance(part, nn.GroupNorm) and part.weight is not None:
        part.num_channels = part.weight.shape[0]
    elif isinstance(part, nn.PReLU):
        part.num_parameters = part.weight.shape[0]
