"""Optimizers and learning rate schedules by torch's names, and a warm-up before them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from lissom.errors import RequestError, unknown
from lissom.nn.training import Training

# These ask for a closure, or for sparse gradients.
NOT_HERE = {"Optimizer", "LBFGS", "SparseAdam"}
# These take functions or other schedules, which no recipe can hold.
NO_SETTINGS = {
    "LRScheduler",
    "LambdaLR",
    "MultiplicativeLR",
    "SequentialLR",
    "ChainedScheduler",
}
# What ends with the run, and the option that says when.
LENGTHS = {
    "CosineAnnealingLR": "T_max",
    "LinearLR": "total_iters",
    "PolynomialLR": "total_iters",
    "OneCycleLR": "total_steps",
}
PLATEAU = "ReduceLROnPlateau"


def optimizers() -> dict[str, type[Optimizer]]:
    """torch's optimizers by name."""
    found = ((name, getattr(torch.optim, name)) for name in dir(torch.optim))
    return {
        name: kind
        for name, kind in found
        if isinstance(kind, type) and issubclass(kind, Optimizer) and name not in NOT_HERE
    }


def schedules() -> dict[str, type[lr_scheduler.LRScheduler]]:
    """torch's schedules by name."""
    found = ((name, getattr(lr_scheduler, name)) for name in dir(lr_scheduler))
    return {
        name: kind
        for name, kind in found
        if isinstance(kind, type)
        and issubclass(kind, lr_scheduler.LRScheduler)
        and name not in NO_SETTINGS
        and not name.startswith("_")
    }


def make_optimizer(module: nn.Module, config: Training) -> Optimizer:
    """The optimizer over all parameters that are not frozen.

    Raises:
        RequestError: torch has no optimizer of that name, or it does not take the options.
    """
    known = optimizers()
    if config.optimizer not in known:
        raise unknown("optimizer", config.optimizer, known)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        raise RequestError(
            "there is nothing to train: the network has no parameter that takes a gradient",
            fix="call .requires_grad_(True) on the layers to train",
        )
    options: dict[str, Any] = {"lr": config.lr, **config.optimizer_options}
    if config.weight_decay:
        options["weight_decay"] = config.weight_decay
    try:
        return known[config.optimizer](parameters, **options)
    except (TypeError, ValueError) as error:
        raise _refused(config.optimizer, error, "optimizer_options") from None


class Schedule:
    """The learning rate of every step: torch's schedule, after a linear warm-up from 0.

    `steps` is how many optimizer steps an epoch has, None where that is not known beforehand.
    """

    def __init__(
        self, optimizer: Optimizer, config: Training, steps: int | None, higher_is_better: bool
    ) -> None:
        self.optimizer = optimizer
        self.config = config
        self.torchs = self._make(steps, higher_is_better)
        ends = config.schedule in LENGTHS
        self.by_step = config.schedule_every == "step" or (ends and config.schedule_every == "auto")

    def step(self, number: int) -> float:
        """Let the optimizer make step `number` (from 0) and move on; the learning rate it had."""
        share = min(1.0, (number + 1) / self.config.warmup_steps) if self._warming(number) else 1.0
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * share
        self.optimizer.step()
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        if self.torchs is not None and self.by_step and not self._warming(number):
            self.torchs.step()
        return float(rates[0]) * share

    def end_epoch(self, metric: float | None) -> None:
        """Move on at the end of an epoch, if that is what the schedule counts."""
        if self.torchs is None or self.by_step:
            return
        if isinstance(self.torchs, lr_scheduler.ReduceLROnPlateau):
            assert metric is not None
            self.torchs.step(metric)
        else:
            self.torchs.step()

    def state(self) -> dict[str, Any]:
        """What changes as it goes on, as JSON; the rest comes from the config again."""
        return {} if self.torchs is None else json_part(self.torchs.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        if self.torchs is not None:
            self.torchs.load_state_dict(dict(state))

    def _warming(self, number: int) -> bool:
        return number < self.config.warmup_steps

    def _make(self, steps: int | None, higher_is_better: bool) -> lr_scheduler.LRScheduler | None:
        name = self.config.schedule
        if name is None:
            return None
        known = schedules()
        if name not in known:
            raise unknown("schedule", name, known)
        options: dict[str, Any] = dict(self.config.schedule_options)
        if name in LENGTHS and LENGTHS[name] not in options:
            options[LENGTHS[name]] = self._length(name, steps)
        if name == "OneCycleLR":
            options.setdefault("max_lr", self.config.lr)
        if name == PLATEAU:
            options.setdefault("mode", "max" if higher_is_better else "min")
        try:
            return known[name](self.optimizer, **options)
        except (TypeError, ValueError) as error:
            raise _refused(name, error, "schedule_options") from None

    def _length(self, name: str, steps: int | None) -> int:
        if self.config.schedule_every == "epoch":
            return self.config.epochs
        if steps is None:
            raise RequestError(
                f"{name} ends with the run, and the training data do not tell how long that is",
                where="training.schedule",
                fix=f"give schedule_options: {{{LENGTHS[name]}: steps}}, or data with a length",
            )
        # One more for OneCycleLR, which counts its own start as a step.
        return max(1, self.config.epochs * steps - self.config.warmup_steps) + (
            name == "OneCycleLR"
        )


def json_part(state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are the same after being written as JSON and read again."""
    kept = {}
    for key, value in state.items():
        try:
            if json.loads(json.dumps(value)) == value:
                kept[key] = value
        except (TypeError, ValueError):
            continue
    return kept


def _refused(name: str, error: Exception, option: str) -> RequestError:
    return RequestError(
        f"{name} does not take these settings: {error}",
        where=f"training.{option}",
        fix=f"see torch's documentation of {name}",
    )
