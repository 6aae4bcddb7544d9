"""Removes whole channels, so that the network that is left is smaller, dense and plain."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema, field_serializer, model_validator

from lissom.batches import Batches
from lissom.errors import RequestError
from lissom.nn.coupling import Coupling, Group, couple
from lissom.nn.edits import removal
from lissom.nn.network import TorchModel
from lissom.nn.surgery import tensors_of
from lissom.nn.trial import proven
from lissom.prune.correct import correct
from lissom.prune.importance import RECONSTRUCTION, Importance, importance_named
from lissom.prune.ranking import rank_by_importance
from lissom.prune.readers import rank_by_reconstruction
from lissom.prune.selection import Measure, Ranking, Scope, Sizes, choose
from lissom.technique import Config, Context, technique


def _known(importance: str | Importance) -> str | Importance:
    if isinstance(importance, str) and importance != RECONSTRUCTION:
        importance_named(importance)
    return importance


class StructuredPruning(Config):
    """Settings of `prune.structured`.

    Attributes:
        macs: share of the multiply-accumulates to remove, in [0, 1). Give this or `channels`.
        channels: share of the channels that can be removed to remove, in [0, 1).
        scope: "layer" takes the same share of every layer; "global" takes more where it costs less.
        importance: "reconstruction" (what the layers that read a channel lose without it, after the
            rest was fitted again), l1, l2, batch_norm, taylor (needs training data), random, or a
            function of `importance.Evidence`.
        keep: patterns of module names that are left whole, as `layer1.*`.
        multiple_of: what is left of a layer is a multiple of this.
        correct: fit the remaining weights to the original by least squares on calibration data.
    """

    macs: float | None = None
    channels: float | None = None
    scope: Scope = "layer"
    importance: Annotated[
        str | Callable[..., Any], AfterValidator(_known), WithJsonSchema({"type": "string"})
    ] = RECONSTRUCTION
    keep: tuple[str, ...] = ()
    multiple_of: int = Field(default=1, ge=1)
    correct: bool = True

    @model_validator(mode="after")
    def _one_ratio(self) -> StructuredPruning:
        if (self.macs is None) == (self.channels is None):
            raise ValueError("give either macs or channels, the share to remove")
        measure, ratio = self.goal
        if not 0 <= ratio < 1:
            raise RequestError(
                f"{measure} is {ratio:g}, and a share to remove lies in [0, 1)",
                where="prune.structured",
                fix=f"to remove half, write {measure}: 0.5",
            )
        return self

    @property
    def goal(self) -> tuple[Measure, float]:
        """What is counted, and the share of it that goes."""
        if self.macs is not None:
            return "macs", self.macs
        return "channels", self.channels or 0.0

    @field_serializer("importance")
    def _name(self, importance: str | Callable[..., Any]) -> str:
        """A function by its name and its code, so that a changed one is another config."""
        if isinstance(importance, str):
            return importance
        try:
            code = inspect.getsource(importance)
        except (OSError, TypeError):
            code = repr(importance)
        name = getattr(importance, "__qualname__", type(importance).__name__)
        return f"{name} {hashlib.sha256(code.encode()).hexdigest()}"


@technique("prune.structured", config=StructuredPruning, form="torch", needs=("calibration",))
def structured(model: TorchModel, config: StructuredPruning, context: Context) -> TorchModel:
    """Remove channels and neurons, and fit what is left to what the network said before.

    Raises:
        ModelError: the network cannot be traced.
        RequestError: the ratio would empty a layer, a pattern matches nothing, or the data that
            the importance or the correction needs are not there.
    """
    coupling = proven(model, couple(model))
    groups = _prunable(model, coupling, config.keep)
    sizes = Sizes.of(coupling, {n: tensor.shape for n, tensor in tensors_of(model.module).items()})
    before = sizes.macs()
    measure, ratio = config.goal
    if ratio == 0:
        return model
    rankings = _ranked(model, groups, config, context)
    counts = choose(
        rankings,
        sizes,
        ratio=ratio,
        measure=measure,
        scope=config.scope,
        multiple_of=config.multiple_of,
    )
    gone = [
        place
        for ranking, count in zip(rankings, counts, strict=True)
        for channel in ranking.order[:count]
        for place in ranking.group.channels[channel]
    ]
    edits = removal(gone, model.module)
    pruned = model.edited(*edits)
    if config.correct:
        pruned = correct(
            pruned,
            model,
            coupling,
            _calibration(context, "correcting what is left"),
            edits=edits,
            seed=context.seed,
            track=context.track,
        )
    total = f"prune.structured removed {1 - sizes.macs() / before:.1%} of the multiply-accumulates"
    lost = [
        f"{ranking.group.name}: {len(ranking.order) - count} of {len(ranking.order)} channels left"
        for ranking, count in zip(rankings, counts, strict=True)
        if count
    ]
    kept = [str(each) for each in coupling.whole]
    return replace(pruned, notes=(*model.notes, total, *lost, *kept))


def _ranked(
    model: TorchModel, groups: Sequence[Group], config: StructuredPruning, context: Context
) -> list[Ranking]:
    if config.importance == RECONSTRUCTION:
        return rank_by_reconstruction(
            model,
            groups,
            _calibration(context, "the importance 'reconstruction'"),
            seed=context.seed,
            track=context.track,
        )
    named = config.importance
    importance = importance_named(named) if isinstance(named, str) else named
    return rank_by_importance(model, groups, importance, context)


def _calibration(context: Context, purpose: str) -> Batches:
    if context.calibration is None:
        raise RequestError(
            f"{purpose} needs calibration data",
            where="prune.structured",
            fix="give Task(calibration=batches), or importance: l2 with correct: false",
        )
    return context.calibration


def _prunable(model: TorchModel, coupling: Coupling, keep: Sequence[str]) -> list[Group]:
    """The groups that no pattern keeps.

    Raises:
        RequestError: a pattern matches no module.
    """
    names = [name for name, _ in model.module.named_modules() if name]
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise RequestError(
                f"keep: {pattern!r} matches no module of the network",
                where="prune.structured",
                fix=f"modules are named as {', '.join(names[:3])}",
            )
    return [
        group
        for group in coupling.groups
        if not any(fnmatchcase(layer, pattern) for layer in group.layers for pattern in keep)
    ]
