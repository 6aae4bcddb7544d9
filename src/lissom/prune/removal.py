"""Choose the channels that go, take them out, and fit what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from lissom.batches import Batches
from lissom.errors import RequestError
from lissom.nn.coupling import Coupling, Group, couple
from lissom.nn.edits import removal
from lissom.nn.network import TorchModel
from lissom.nn.surgery import tensors_of
from lissom.nn.trial import proven
from lissom.prune.correct import correct
from lissom.prune.importance import importance_named
from lissom.prune.ranking import rank_by_importance
from lissom.prune.readers import rank_by_reconstruction
from lissom.prune.selection import Ranking, Sizes, choose
from lissom.prune.settle import settle
from lissom.prune.structured import RECONSTRUCTION, StructuredPruning
from lissom.technique import Context


def removed(model: TorchModel, config: StructuredPruning, context: Context) -> TorchModel:
    """The network without its least important channels; its notes say what went and what stayed.

    Raises:
        ModelError: the network cannot be traced.
        RequestError: the ratio would empty a layer, a pattern matches nothing, or the data that
            the importance or the correction needs are not there.
    """
    coupling = proven(model, couple(model))
    groups = _prunable(model, coupling, config.keep)
    streams = [] if config.residual else [group for group in groups if coupling.adds(group)]
    groups = [group for group in groups if group not in streams]
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
        further="residual: true also removes channels of the residual stream" if streams else "",
    )
    gone = [
        place
        for ranking, count in zip(rankings, counts, strict=True)
        for channel in ranking.order[:count]
        for place in ranking.group.channels[channel]
    ]
    edits = removal(gone, model.module)
    pruned = model.edited(*edits)
    left: tuple[str, ...] = ()
    if config.correct:
        calibration = _calibration(context, "correcting what is left")
        pruned, left = correct(
            pruned,
            model,
            coupling,
            calibration,
            edits=edits,
            seed=context.seed,
            track=context.track,
        )
        settle(pruned, calibration, track=context.track)
    total = f"prune.structured removed {1 - sizes.macs() / before:.1%} of the multiply-accumulates"
    lost = [
        f"{ranking.group.name}: {len(ranking.order) - count} of {len(ranking.order)} channels left"
        for ranking, count in zip(rankings, counts, strict=True)
        if count
    ]
    kept = [
        *(f"{group.name} is kept whole: blocks add to it (residual: true)" for group in streams),
        *map(str, coupling.whole),
    ]
    return replace(pruned, notes=(*model.notes, total, *lost, *left, *kept))


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
