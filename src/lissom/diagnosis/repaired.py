"""What the output's error would be with one layer repaired and all others as they are.

Errors of layers are not additive: they may cancel, as where biases were corrected for what comes
before; they may add up with one sign; and a layer may hide what another does. What a repair takes
away is therefore found by making it, in the compressed network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Network
from lissom.diagnosis.reals import SWITCHES
from lissom.diagnosis.section import Section
from lissom.report.diagnosis import Gain
from lissom.technique import Track

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Layers that are repaired, those that make the most.
REPAIRED = 6
# A cause that makes less than this of a layer's added error is not taken away by itself.
NOTABLE = 0.1
TINY = 1e-30


def gains(
    first: Network,
    second: Network,
    sums: Sequence[Sums],
    made: Sequence[float],
    samples: Sequence[Batch],
    outputs: Mapping[str, str],
    track: Track,
) -> list[dict[str, Gain]]:
    """For each layer, the part of the output's squared error that goes when it alone is repaired.

    Under "layer" when it is what the original computes from the layer's own inputs, unrounded;
    under a cause when that alone is taken away. Negative where the error grows. Empty for layers
    that are not among those that make the most. Sums that saturate are not in it.

    Args:
        first: the original.
        second: the compressed network in reals.
        sums: the layers, filled.
        made: the output's error that each makes alone.
        samples: a few small batches.
        outputs: the compressed network's output for each of the original's.
        track: shown one item a layer.
    """
    found: list[dict[str, Gain]] = [{} for _ in sums]
    chosen = [at for at in np.argsort(-np.asarray(made), kind="stable")[:REPAIRED] if made[at] > 0]
    if not chosen:
        return found
    on = {name: np.asarray(True) for name in SWITCHES}
    samples = [{**batch, **on} for batch in samples]
    plain = first.between((), list(outputs)).session({})
    truths = [plain(batch) for batch in samples]
    whole = second.between((), list(outputs.values())).session({})
    before = _errors((whole(batch) for batch in samples), truths, outputs)
    powers = {
        name: sum(float(np.square(truth[name].astype(np.float64)).sum()) for truth in truths)
        for name in before
    }
    worst = max(before, key=lambda name: before[name].sum() / max(powers[name], TINY))
    if not before[worst].sum() > 0:
        return found
    makers = {each.section.root: each.section for each in sums}
    for at in track(chosen, "repairs", len(chosen)):
        found[at] = {
            name: gain_of(before[worst], after[worst])
            for name, after in _repaired(first, second, sums[at], makers, samples, truths, outputs)
        }
        sums[at].section.close()
    return found


def _repaired(
    first: Network,
    second: Network,
    sums: Sums,
    makers: Mapping[str, Section],
    samples: Sequence[Batch],
    truths: Sequence[Batch],
    outputs: Mapping[str, str],
) -> Iterator[tuple[str, dict[str, Array]]]:
    """Each repair of a layer with the errors of the outputs after it."""
    section = sums.section
    names = [name for name in section.part.inputs if name not in SWITCHES]
    prefix = second.between((), [*names, section.root]).session({})
    known = [_limited(prefix(batch), section, makers) for batch in samples]
    root = known[0][section.root]
    suffix = second.between({section.root}, list(outputs.values())).session(
        {section.root: root.dtype}
    )
    exact = _Exact(first, sums)
    kinds = [
        name
        for name in ("rounding", "clipping", "bias", "activation")
        if sums.alone[name] > NOTABLE * sums.total
    ]
    for kind in ("layer", *kinds):
        answers = []
        for batch, values in zip(samples, known, strict=True):
            result = exact(batch, values) if kind == "layer" else _without(kind, sums, values)
            scaled = section.matched.scaling
            result = result if scaled is None else scaled.apply(result)
            here = values[section.root]
            given = np.asarray(result, here.dtype).reshape(here.shape)
            answers.append(suffix({**batch, section.root: given}))
        yield kind, _errors(answers, truths, outputs)


def _limited(values: dict[str, Array], section: Section, makers: Mapping[str, Section]) -> Batch:
    """The section's inputs as activations leave them that are left to the codes."""
    for name, source in section.sources.items():
        maker = makers.get(name)
        if maker is not None and (maker.low is not None or maker.high is not None):
            here = values[name]
            plain = maker.limited(here)
            scaled = plain if source.scaling is None else source.scaling.apply(plain)
            values[name] = np.asarray(scaled, here.dtype)
    return values


class _Exact:
    """What the original computes from a layer's inputs in the compressed network."""

    def __init__(self, first: Network, sums: Sums) -> None:
        self.section = sums.section
        self.part = first.between(
            {source.tensor for source in self.section.sources.values()},
            [self.section.matched.tensor],
        )
        self.runs: Any = None

    def __call__(self, batch: Batch, values: Batch) -> Array:
        given = dict(batch)
        for name, source in self.section.sources.items():
            value = np.asarray(values[name], np.float32)
            given[source.tensor] = value if source.scaling is None else source.scaling.undo(value)
        if self.runs is None:
            self.runs = self.part.session({name: array.dtype for name, array in given.items()})
        result: Array = self.runs(given)[self.section.matched.tensor]
        return result


def _without(kind: str, sums: Sums, values: Batch) -> Array:
    """The layer's result, in the original's form, with one cause of error taken away."""
    section = sums.section
    feeds = {name: values[name] for name in section.part.inputs if name in values}
    found = section.run(feeds, rounding=kind != "rounding", clipping=kind != "clipping")
    result = found[section.root]
    if kind == "activation":
        return section.bounded(result)
    if kind == "bias" and section.layer is not None and sums.offset is not None:
        end = found[section.layer.end]
        right = end - sums.shift_of_bias(end.ndim)
        return section.onward(section.layer.end, right.astype(end.dtype), feeds)
    return result


def gain_of(before: Array, after: Array) -> Gain:
    """The part of a sum of squared errors that goes, with the standard error of that ratio.

    Ratio estimator over samples drawn at random (Cochran, Sampling Techniques, 1977, eq. 6.13).

    Args:
        before, after: squared errors of the same samples, [samples].
    """
    whole, count = float(before.sum()), len(before)
    ratio = float(after.sum()) / whole
    left = float(np.square(after - ratio * before).sum())
    error = np.sqrt(left * count / max(1, count - 1)) / whole if count > 1 else np.inf
    return Gain(part=1 - ratio, error=float(error))


def _errors(
    answers: Sequence[Batch] | Iterator[Batch],
    truths: Sequence[Batch],
    outputs: Mapping[str, str],
) -> dict[str, Array]:
    """Squared errors of each output that is floats, sample by sample."""
    found: dict[str, list[Array]] = {}
    for answer, truth in zip(answers, truths, strict=True):
        for name, other in outputs.items():
            if truth[name].dtype.kind == "f":
                off = np.square(answer[other] - truth[name].astype(np.float64))
                rows = off.reshape(len(off), -1).sum(axis=1) if off.ndim else off.reshape(1)
                found.setdefault(name, []).append(rows)
    return {name: np.concatenate(errors) for name, errors in found.items()}
