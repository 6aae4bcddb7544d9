"""From numbers to sentences: which layer, why, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lissom.diagnosis.not_finite import lost
from lissom.diagnosis.outstanding import BEYOND, is_narrow, outstanding
from lissom.diagnosis.remedies import NO_REMEDY, Remedy, remedy_for
from lissom.diagnosis.repaired import REPAIRING
from lissom.diagnosis.slow import slow
from lissom.diagnosis.written import MIXED, STATIC, written
from lissom.report.counted import layers_counted, telling_shifts
from lissom.report.diagnosis import Cause, Diagnosis, Gain, LayerError, LayerTime, Verdict
from lissom.report.diagnosis_words import NOT_COMPARED, decibels, ends, fit, holding, percent
from lissom.report.main_cause import CAUSES, main_cause, part_of

# An output error up to which a network without a fault is healthy (-13 dB): the static INT8 files
# of benchmarks/RESULTS.md that keep their task's quality are at -19 to -37 dB.
POOR = 5e-2
# Where weights have few bits more of them are a remedy, from the worst of those on (-20 dB).
POOR_NARROW = 1e-2
NAMES: dict[Cause, str] = {
    "weights": "rounding of weights",
    "rounding": "rounding of activations",
    "clipping": "clipping",
    "saturation": "saturating sums",
    "bias": "biases",
    "activation": "lost activations",
    "unexplained": "causes that add up",
}


def with_verdicts(found: Diagnosis) -> Diagnosis:
    """With verdicts: what is broken, wrong data, layers by their share, and what costs time."""
    return found.model_copy(update={"verdicts": tuple(_verdicts(found))})


def _verdicts(found: Diagnosis) -> Iterator[Verdict]:
    layers = layers_counted(found)
    no_numbers = lost(found)
    if no_numbers is not None:
        yield no_numbers
    broken = [_broken(layer, found) for layer in layers if layer.problem is not None]
    yield from broken
    data = _data(found, layers)
    if data is not None:
        yield data
    told = [layer for layer in outstanding(layers) if layer.problem is None]
    for layer in told:
        yield _verdict(layer, found)
    if not broken and not told and data is None and no_numbers is None:
        yield _no_fault(found, layers)
    if found.times is not None:
        yield from slow(found.times, found.layers, found.made_by)


def _time(found: Diagnosis, layer: LayerError) -> LayerTime | None:
    return None if found.times is None else found.times.of(layer.name)


def _verdict(layer: LayerError, found: Diagnosis) -> Verdict:
    cause = main_cause(layer)
    remedy = remedy_for(written(layer, found.layers, found.made_by), cause, _time(found, layer))
    share = layer.share or 0.0
    made = f"the error it adds is {decibels(layer.added)} dB"
    return Verdict(
        layer=layer.name,
        cause=cause,
        share=share,
        words=f"{layer.name}: {percent(share)} of the output's error; {_why(layer, cause)}; {made}"
        f"{_together(layer, found.samples)}",
        remedy=remedy.words,
        technique=remedy.technique,
        config=remedy.config,
        gain=_gain(layer, cause, remedy),
        ms=remedy.ms,
        bytes=remedy.bytes,
    )


def _together(layer: LayerError, samples: int) -> str:
    """Where errors are not additive: what goes when this layer alone is exact."""
    share, repaired = layer.share or 0.0, layer.gains.get("layer")
    if repaired is None:
        return ""
    gain = repaired.part
    if not repaired.told:
        within = f"{percent(max(0.0, gain))} (standard error {percent(min(1.0, repaired.error))})"
        would_do = enough(repaired, samples)
        more = f": about {would_do} samples would do" if would_do else ""
        return f"; exact by itself it takes away {within}, too uncertain to foretell{more}"
    if abs(gain - share) <= max(share, abs(gain)) / 3:
        return ""
    if gain <= 0:
        return "; exact by itself it would not lessen the error, which others' errors then make"
    return f"; exact by itself it takes away {percent(min(1.0, gain))}, errors not being additive"


def enough(gain: Gain, samples: int) -> int | None:
    """Samples that would make a gain known to a third; None where more are not looked at.

    Standard errors fall with the root of their number.

    Args:
        gain: as it was found.
        samples: of the diagnosis, of which gains take the first 128.
    """
    used = min(samples, REPAIRING)
    if gain.told or not (gain.part > 0 and math.isfinite(gain.error)):
        return None
    # Tens, as an estimate of an error is no better.
    needed = 10 * math.ceil(used * (3 * gain.error / gain.part) ** 2 / 10)
    return needed if used < needed <= REPAIRING else None


def _gain(layer: LayerError, cause: Cause, remedy: Remedy) -> float | None:
    """The part of the output's squared error that goes, where all of the cause or layer does.

    As measured in the compressed network, others' errors there, and None where that varies too
    much from sample to sample; else by the layer's share, which holds where errors are additive.
    """
    if remedy.takes is None or layer.share is None:
        return None
    repaired = layer.gains.get("layer" if remedy.takes == "layer" else cause)
    goes = 1.0 - remedy.left
    if repaired is not None:
        return max(0.0, repaired.part) * goes if repaired.told else None
    return layer.share * goes * (1.0 if remedy.takes == "layer" else part_of(layer, cause))


def _why(layer: LayerError, cause: Cause) -> str:
    """What the cause is, in figures of this layer."""
    most = percent(part_of(layer, cause))
    match cause:
        case "bias":
            return f"its bias is not the original's ({most} of what it adds)"
        case "activation":
            return (
                "its ReLU or Clip was left to codes whose grid reaches beyond it, so it is lost "
                f"({most} of what it adds)"
            )
        case "saturation":
            return (
                f"its kernel adds pairs of products in 16 bits and saturates ({most} of what it "
                "adds)"
            )
        case "clipping":
            return _of_grid(layer, "values outside of its grid are cut off")
        case "weights":
            codes = f"{layer.weight_bits}-bit weights" if layer.weight_bits else "its weights"
            return f"{codes} make {most} of what it adds{_held(layer, ('output', 'input'))}"
        case "rounding":
            rounded = "its input is rounded too coarsely"
            return _of_grid(layer, rounded) + _held(layer, ("activation",))
        case _:
            return "no single cause makes its error"


def _of_grid(layer: LayerError, words: str) -> str:
    """With the range of codes, and how it fits what was seen."""
    grid = layer.grid
    if grid is None:
        return words
    return (
        f"{words}: {grid.bits} bits over {ends(grid.clip_low, grid.clip_high)}, and values of "
        f"{ends(grid.low, grid.high)}; {fit(grid)}"
    )


def _held(layer: LayerError, axes: Sequence[str]) -> str:
    """The channels that hold the range, where few of many do."""
    for channels in layer.channels:
        few = 0 < len(channels.worst) <= max(1, channels.count // 8)
        if channels.axis in axes and few and channels.spread >= 4:
            return f"; {holding(channels)}"
    return ""


def _broken(layer: LayerError, found: Diagnosis) -> Verdict:
    state = "zero" if layer.problem == "dead" else "the same"
    remedy = remedy_for(written(layer, found.layers, found.made_by), "unexplained")
    return Verdict(
        layer=layer.name,
        cause="dead",
        share=layer.share,
        words=f"{layer.name}: what it gives is {state} for every sample, the original's is not",
        remedy=remedy.words,
        technique=remedy.technique,
        config=remedy.config,
    )


def _data(found: Diagnosis, layers: Sequence[LayerError]) -> Verdict | None:
    """Clipping in many layers at once: the ranges are those of other data."""
    gridded = [layer for layer in layers if layer.grid is not None]
    cut = [
        (layer.grid.clipped, layer)
        for layer in gridded
        if layer.grid is not None and layer.grid.clipped > BEYOND
    ]
    clipping = [layer for _, layer in cut if main_cause(layer) == "clipping"]
    share = sum(layer.share or 0.0 for layer in clipping)
    many = len(clipping) >= 2 and 3 * len(cut) >= len(gridded) and share >= 0.3
    if found.made_up or not many:
        return None
    beyond, worst = max(cut, key=lambda pair: pair[0])
    shifts = telling_shifts(found)
    differ = f"; the most different tensor is {shifts[0].tensor}" if shifts else ""
    return Verdict(
        layer=None,
        cause="data",
        share=share,
        words=f"{len(cut)} of {len(gridded)} quantized layers read values outside of their grids, "
        f"up to {percent(beyond)} of them ({worst.name}): the ranges were measured on data that "
        f"do not represent these{differ}; the layers that clip make {percent(share)} of the "
        "output's error",
        remedy="calibrate with samples like these, a few hundred drawn at random",
        technique=_calibrating(found),
        gain=share,
    )


def _calibrating(found: Diagnosis) -> str:
    """The technique that has settings of ranges in the recipe that made the file."""
    return MIXED if any(step.technique == MIXED for step in found.made_by) else STATIC


def _no_fault(found: Diagnosis, layers: Sequence[LayerError]) -> Verdict:
    """No layer stands out: healthy, or evenly poor."""
    if math.isnan(found.error):
        return Verdict(layer=None, cause="unknown", share=None, words=f"unknown: {NOT_COMPARED}")
    if found.error == 0:
        return Verdict(
            layer=None, cause="healthy", share=None, words="healthy: the outputs are the same"
        )
    largest = max(layers, key=lambda layer: layer.share or 0.0, default=None)
    most = (
        ""
        if largest is None
        else f"; the most of it, {percent(largest.share or 0.0)}, comes from {largest.name}"
    )
    level = f"the error of the outputs is {decibels(found.error)} dB"
    cause = _commonest(layers)
    narrow = cause == "weights" and largest is not None and is_narrow(largest)
    if found.error <= (POOR_NARROW if narrow else POOR):
        return Verdict(
            layer=None,
            cause="healthy",
            share=None,
            words=f"healthy: {level}, and no layer loses more than its codes must{most}",
        )
    form = None if largest is None else written(largest, layers, found.made_by)
    remedy = remedy_for(form, cause) if form is not None else NO_REMEDY
    return Verdict(
        layer=None,
        cause=cause,
        share=None,
        words=f"{level}, spread over {len(layers)} layers, none of which loses more than its codes "
        f"must: mostly {NAMES[cause]}{most}",
        remedy=remedy.everywhere or remedy.words,
        technique=remedy.technique,
        config={} if remedy.everywhere else remedy.config,
    )


def _commonest(layers: Sequence[LayerError]) -> Cause:
    """The cause of most of the output's error over all layers."""
    shares: dict[Cause, float] = dict.fromkeys((*CAUSES, "unexplained"), 0.0)
    for layer in layers:
        shares[main_cause(layer)] += layer.share or 0.0
    return max(shares, key=lambda cause: shares[cause])
