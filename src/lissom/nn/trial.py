"""Prune a little of every group on trial: what the trace promised must hold when the code runs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from lissom.errors import ModelError
from lissom.nn.coupling import Coupling, Group, Whole, module_of
from lissom.nn.edits import removal
from lissom.nn.network import TorchModel
from lissom.nn.surgery import tensors_of
from lissom.nn.wrappers import Flat, evaluating

# These mix all channels, so that removing one changes the others: only the shapes can be compared.
MIXING = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
# What Python code raises when the sizes it was written for are gone.
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, ZeroDivisionError)
TOLERANCE = 1e-3


def proven(model: TorchModel, coupling: Coupling) -> Coupling:
    """The coupling without the groups whose removal the network does not stand.

    A pruned network must compute what the original does with the weights that read the removed
    channels at zero. Sizes written into forward methods come to light here.
    """
    if _fault(model, coupling.groups) is None:
        return coupling
    kept, whole = [], list(coupling.whole)
    for group in coupling.groups:
        fault = _fault(model, [group])
        if fault is None:
            kept.append(group)
        else:
            count = len(group.channels)
            whole.append(Whole(group.name, count, count, fault))
    fault = _fault(model, kept)
    if fault is not None:
        raise ModelError(
            f"this network can lose channels of one layer, but not of several at once: {fault}",
            fix="look for sizes written into its forward methods",
        )
    return replace(coupling, groups=tuple(kept), whole=tuple(whole))


def _fault(model: TorchModel, groups: Sequence[Group]) -> str | None:
    """What goes wrong when each group loses its first channel; None when nothing does."""
    groups = [group for group in groups if len(group.channels) > 1]
    if not groups:
        return None
    places = [place for group in groups for place in group.channels[0]]
    expected = copy.deepcopy(model.module)
    tensors = tensors_of(expected)
    readers = {axis for group in groups for axis in group.used}
    with torch.no_grad():
        for tensor, axis, position in places:
            if (tensor, axis) in readers:
                tensors[tensor].select(axis, position).zero_()
    try:
        smaller = model.edited(*removal(places, model.module)).module
        outputs = _outputs(smaller, model)
    except FAILURES as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        return f"its forward does not run without one channel ({reason or type(error).__name__})"
    wanted = _outputs(expected, model)
    mixing = any(_mixes(model.module, group) for group in groups)
    if len(outputs) != len(wanted):
        return "the network gives other outputs without one channel"
    for found, right in zip(outputs, wanted, strict=True):
        if found.shape != right.shape:
            return "an output changes its shape without one channel"
        if mixing or not right.dtype.is_floating_point:
            continue
        limit = TOLERANCE * float(right.abs().max()) if right.numel() else 0.0
        if not torch.allclose(found, right, rtol=TOLERANCE, atol=limit, equal_nan=True):
            return "the network computes something else without one channel"
    return None


def _outputs(module: nn.Module, model: TorchModel) -> tuple[torch.Tensor, ...]:
    flat = Flat(module, tuple(model.example_inputs), model.keywords)
    with evaluating(module):
        outputs: tuple[torch.Tensor, ...] = flat(*model.example_inputs.values())
    return outputs


def _mixes(module: nn.Module, group: Group) -> bool:
    return any(
        isinstance(module.get_submodule(module_of(tensor)), MIXING)
        or (
            "norm" in type(module.get_submodule(module_of(tensor))).__name__.lower()
            and not isinstance(
                module.get_submodule(module_of(tensor)), nn.modules.batchnorm._NormBase
            )
        )
        for tensor in group.tensors
    )
