"""What the output's error would be with one layer repaired and all others as they are.

Errors of layers are not additive: they may cancel, as where biases were corrected for what comes
before; they may add up with one sign; and a layer may hide what another does. What a repair takes
away is therefore found by making it, in the compressed network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.causes import Sums
from lissom.diagnosis.cut import Network
from lissom.diagnosis.kept import Keep, unkept
from lissom.diagnosis.running import Running
from lissom.diagnosis.section import Section
from lissom.diagnosis.share import Alone, shares
from lissom.quantize.output_error import is_signal, squares
from lissom.report.diagnosis import Gain
from lissom.technique import Track

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Samples on which repairs are measured: gains are differences, which vary more than shares.
REPAIRING = 128
# Layers that are repaired, and those among them that are there for the error they make alone.
REPAIRED, BY_SHARE = 6, 3
# A cause that makes less than this of a layer's added error is not taken away by itself.
NOTABLE = 0.1
TINY = 1e-30


def gains(
    first: Network,
    running: Running,
    sums: Sequence[Sums],
    made: Sequence[Alone],
    track: Track,
    keep: Keep = unkept,
) -> list[dict[str, Gain]]:
    """For each layer, the part of the output's squared error that goes when it alone is repaired.

    Under "layer" when it is what the original computes from the layer's own inputs, unrounded;
    under a cause when that alone is taken away. Negative where the error grows. Empty for layers
    that are not worth the time: see `worth_repairing`. What saturates is in it where it is
    counted, emulated on machines that add exactly.

    Args:
        first: the original.
        running: the compressed network and the samples.
        sums: the layers, filled.
        made: what each does to the output alone.
        track: shown one item a layer.
        keep: keeps the gains of each layer.
    """
    found: list[dict[str, Gain]] = [{} for _ in sums]
    chosen = worth_repairing(made)
    repairs = _Repairs(first, running, sums)
    for at in track(chosen, "repairs", len(chosen)):
        kept = keep(f"gains of {at}", partial(repairs.of, sums[at]))
        found[at] = {name: Gain.model_validate(gain) for name, gain in kept.items()}
    return found


def worth_repairing(made: Sequence[Alone]) -> list[int]:
    """The layers whose repair is measured, in order of what it is likely to gain.

    First a few that make the most error alone, of which verdicts tell; then by the larger of that
    share and the estimated gain, which is large too where small errors add up with one sign.
    """
    parts = np.array(shares(made))
    likely = np.maximum(parts, [each.gain for each in made])
    first = np.argsort(-parts, kind="stable")[:BY_SHARE]
    order = [*first, *(at for at in np.argsort(-likely, kind="stable") if at not in first)]
    chosen = [int(at) for at in order if made[at].error > 0][:REPAIRED]
    return sorted(chosen, key=lambda at: -likely[at])


class _Repairs:
    """Makes them on the samples, each beside the compressed network as it is."""

    def __init__(self, first: Network, running: Running, sums: Sequence[Sums]) -> None:
        self.first, self.running = first, running
        self.makers = {each.section.root: each.section for each in sums}

    def of(self, sums: Sums) -> dict[str, dict[str, float]]:
        """The gains of one layer, as plain numbers."""
        before = self.before.get(self.worst)
        # Where outputs are no numbers there is nothing to gain by degrees.
        if before is None or not 0 < before.sum() < np.inf:
            return {}
        found = {
            name: gain_of(before, after[self.worst]).model_dump()
            for name, after in self._repaired(sums)
            if np.isfinite(after[self.worst]).all()
        }
        sums.section.close()
        return found

    @cached_property
    def truths(self) -> list[Batch]:
        """The original's outputs."""
        plain = self.first.between((), list(self.running.given)).session({})
        return [plain(batch) for batch in self.running.samples]

    @cached_property
    def before(self) -> dict[str, Array]:
        """Squared errors of the outputs as they are, by sample."""
        return _errors(list(self.running.outputs()), self.truths)

    @cached_property
    def worst(self) -> str:
        """The output of the largest relative error."""

        def relative(name: str) -> float:
            signals = [truth[name][is_signal(truth[name])] for truth in self.truths]
            power = sum(float(np.square(each, dtype=np.float64).sum()) for each in signals)
            return float(self.before[name].sum()) / max(power, TINY)

        return max(self.before, key=relative, default="")

    def _repaired(self, sums: Sums) -> Iterator[tuple[str, dict[str, Array]]]:
        """Each repair of a layer with the errors of the outputs after it."""
        section, running = sums.section, self.running
        known = [_limited(each, section, self.makers) for each in running.inputs(section)]
        suffix = running.after(section.root, known[0][section.root].dtype)
        exact = _Exact(self.first, sums)
        for kind in ("layer", *_kinds(sums)):
            answers = []
            for at, (batch, values) in enumerate(zip(running.samples, known, strict=True)):
                if kind == "layer":
                    result = exact(batch, values)
                else:
                    loss = None if kind == "saturation" else running.loss(section, at)
                    result = _without(kind, sums, values, loss)
                scaled = section.matched.scaling
                result = result if scaled is None else scaled.apply(result)
                here = values[section.root]
                if np.size(result) != here.size:
                    # How much the layer gives depends on what is rounded.
                    break
                answers.append(suffix(at, np.asarray(result, here.dtype).reshape(here.shape)))
            else:
                yield kind, _errors(answers, self.truths)


def _kinds(sums: Sums) -> list[str]:
    """The causes that are worth taking away by themselves."""
    kinds = ("rounding", "clipping", "bias", "activation")
    found = [name for name in kinds if sums.alone[name] > NOTABLE * sums.total]
    return [*found, "saturation"] if sums.counted and sums.lost > NOTABLE * sums.lossy else found


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


def _without(kind: str, sums: Sums, values: Batch, loss: Array | None) -> Array:
    """The layer's result, in the original's form, with one cause of error taken away.

    What its sums lose is added, which they are taken to lose whatever else is taken away.
    """
    section = sums.section
    feeds = {name: values[name] for name in section.part.inputs if name in values}
    found = section.run(feeds, rounding=kind != "rounding", clipping=kind != "clipping")
    result = found[section.root]
    if loss is not None and section.layer is not None:
        start = section.layer.result
        result = section.onward(start, found[start] + loss, feeds)
    if kind == "activation":
        return section.bounded(result)
    if kind == "bias" and section.layer is not None and sums.offset is not None:
        end = found[section.layer.end]
        right = end - sums.shift_of_bias(end.ndim)
        if loss is not None and loss.size == end.size:
            right = right + loss.reshape(end.shape)
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


def _errors(answers: Sequence[Batch], truths: Sequence[Batch]) -> dict[str, Array]:
    """Squared errors of each output, sample by sample; infinite where sizes differ."""
    found: dict[str, list[Array]] = {}
    for answer, truth in zip(answers, truths, strict=True):
        for name, other in answer.items():
            exact = truth[name]
            same = other.size == exact.size
            off = squares(exact, other) if same else np.full(exact.shape, np.inf)
            rows = off.reshape(len(off), -1).sum(axis=1) if off.ndim else off.reshape(1)
            found.setdefault(name, []).append(rows)
    return {name: np.concatenate(errors) for name, errors in found.items()}
