"""Ranks the channels of every group by an importance: gathers what it needs, group by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import nn

from lissom.errors import RequestError, TaskError
from lissom.nn.coupling import Group, module_of
from lissom.nn.losses import task_loss
from lissom.nn.network import TorchModel
from lissom.nn.surgery import tensors_of
from lissom.prune.importance import IMPORTANCES, Evidence, Importance, taylor
from lissom.prune.selection import Ranking
from lissom.technique import Context

Tensor = torch.Tensor
# Gradients of the loss are looked at on about so many samples, in batches of so many rows.
SAMPLES, ROWS = 2048, 64


def rank_by_importance(
    model: TorchModel, groups: Sequence[Group], importance: Importance, context: Context
) -> list[Ranking]:
    """Each group's channels, the least important first; costs are relative to the group's mean.

    Raises:
        RequestError: the importance needs training data that are not there, or gives something
            else than one finite number per channel.
    """
    tensors = {name: tensor.detach() for name, tensor in tensors_of(model.module).items()}
    slopes: list[list[Tensor]] = [[] for _ in groups]
    if importance is taylor or (importance not in IMPORTANCES.values() and _labelled(context)):
        slopes = _slopes(model, groups, context)
    rankings = []
    for number, group in enumerate(groups):
        scales = [name for name in group.tensors if _is_scale(model.module, name)]
        evidence = Evidence(
            group.name,
            tuple(_rows(tensors, group, (axis,)) for axis in group.made),
            tuple(_rows(tensors, group, (axis,)) for axis in group.used),
            tuple(_rows(tensors, group, ((name, 0),)).flatten() for name in scales),
            tuple(slopes[number]),
            torch.Generator().manual_seed(context.seed * 100_003 + number),
        )
        scores = torch.as_tensor(importance(evidence)).double()
        if scores.shape != (len(group.channels),) or not bool(scores.isfinite().all()):
            raise RequestError(
                f"the importance gives {[*scores.shape]} scores for the "
                f"{len(group.channels)} channels of {group.name!r}, or some that are not finite",
                where="prune.structured",
                fix="return one finite number per channel",
            )
        scores = scores / scores.abs().mean().clamp(min=1e-30)
        order = scores.argsort(stable=True)
        rankings.append(Ranking(group, tuple(order.tolist()), tuple(scores[order].tolist())))
    return rankings


def _labelled(context: Context) -> bool:
    train = None if context.task is None else context.task.train
    return train is not None and train.labelled


def _is_scale(module: nn.Module, name: str) -> bool:
    owner = module.get_submodule(module_of(name))
    return isinstance(owner, nn.modules.batchnorm._NormBase) and name.endswith("weight")


def _rows(tensors: dict[str, Tensor], group: Group, axes: tuple[tuple[str, int], ...]) -> Tensor:
    """One row per channel of all its values along these axes."""
    return torch.stack(
        [
            torch.cat(
                [
                    tensors[name].select(axis, position).reshape(-1)
                    for name, axis, position in channel
                    if (name, axis) in axes
                ]
            )
            for channel in group.channels
        ]
    )


def _slopes(model: TorchModel, groups: Sequence[Group], context: Context) -> list[list[Tensor]]:
    """Weight times gradient of the loss, per group and batch."""
    loss = task_loss(context.task.loss if context.task is not None else None)
    parameters = dict(model.module.named_parameters(remove_duplicate=False))
    slopes: list[list[Tensor]] = [[] for _ in groups]
    flags = {name: each.requires_grad for name, each in parameters.items()}
    try:
        for each in parameters.values():
            each.requires_grad_(True)
        for inputs, targets in context.track(_training(model, context), "see gradients"):
            value = loss(model.run(inputs), targets)
            gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            product = {
                name: each.detach() * (torch.zeros_like(each) if slope is None else slope)
                for (name, each), slope in zip(parameters.items(), gradients, strict=True)
            }
            for number, group in enumerate(groups):
                slopes[number].append(_rows(product, group, group.made))
    finally:
        for name, each in parameters.items():
            each.requires_grad_(flags[name])
    return slopes


def _training(model: TorchModel, context: Context) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Some batches of the training data.

    Raises:
        RequestError: there are none, or they have no targets.
    """
    task = context.task
    if task is None or task.train is None:
        raise RequestError(
            "the importance 'taylor' needs training data",
            where="prune.structured",
            fix="give Task(train=(inputs, targets)), or choose another importance",
        )
    bound = task.train.bind(list(model.example_inputs))
    # Spread over the whole, which may be sorted by class.
    every = max(1, (bound.rows or 0) // SAMPLES)
    for batch, targets in islice(bound.look(ROWS), 0, None, every):
        if targets is None:
            raise TaskError(
                "the importance 'taylor' needs targets, and the training data have none",
                where="train",
                fix="give Task(train=(inputs, targets)), or choose another importance",
            )
        yield (
            {name: torch.as_tensor(each) for name, each in batch.items()},
            torch.as_tensor(targets),
        )
