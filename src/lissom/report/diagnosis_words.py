"""Errors, causes and channels of a diagnosis in words, for the terminal and for the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lissom.report.diagnosis import (
    Channels,
    Diagnosis,
    Grid,
    LayerError,
    LayerTime,
    Shift,
    Times,
    Verdict,
)
from lissom.report.main_cause import main_cause, part_of

# An error this small is the arithmetic's own: it is told as none.
NOTHING = 1e-12
# A ratio beyond this is told as such: it is that of a mask, or of channels that are zero.
FAR = 1e4
MADE_UP = (
    "No data were given, so the inputs are made up. What is said of weights, kernels and biases "
    "holds; what is said of ranges, clipping and shares may be different on real data: give --task."
)
NOT_COMPARED = (
    "the outputs cannot be compared: they are no numbers in the original either, or labels or of "
    "no fixed size, and nothing that they are made of is in both files"
)
EMULATED = (
    "saturation is emulated in shares, added errors and the outputs' error; this machine's kernels "
    "add exactly, so the error so far and the task's metric are without it"
)


def decibels(error: float) -> str:
    """A relative squared error on a scale where 0 is as large as the signal: -21.3."""
    if math.isnan(error):
        return "nan"
    if error <= NOTHING:
        return "none"
    return f"{level(error):.1f}" if math.isfinite(error) else "inf"


def level(error: float) -> float:
    """A relative squared error in dB, 10 log10 of it; at most as low as -120."""
    return 10 * math.log10(max(error, NOTHING))


def percent(share: float) -> str:
    """A share in whole percent, and what is too small for that as such."""
    if 0 < share < 0.005:
        return "< 1 %"
    return f"{100 * share:.0f} %"


def output_error(found: Diagnosis) -> str:
    """The error of the outputs as a sentence."""
    error = found.error
    if error <= NOTHING:
        return "the outputs are the same"
    if math.isnan(error):
        return NOT_COMPARED
    if not math.isfinite(error):
        return "the outputs are not numbers"
    names = ", ".join(found.measured_at)
    where = f"at {names}, of which the outputs are made," if names else "of the outputs"
    return (
        f"the error {where} is {decibels(error)} dB, {_share_of_power(error)} of the "
        f"signal's power{_emulated(found)}"
    )


def _emulated(found: Diagnosis) -> str:
    """What it would be without the saturation that is not this machine's."""
    if found.emulated_error is None:
        return ""
    here = decibels(found.output_error)
    here = here if here == "none" else f"{here} dB"
    return f", with saturation, which is emulated; on this machine, which adds exactly, {here}"


def cause(layer: LayerError) -> str:
    """The main cause of a layer's error with the part of it that this makes: weights 84 %."""
    if layer.problem is not None:
        return layer.problem
    if layer.added <= NOTHING:
        return ""
    found = main_cause(layer)
    part = part_of(layer, found)
    return found if not part else f"{found} {percent(part)}"


def bits(layer: LayerError) -> str:
    """Widths of the codes of weight and input: 8/8, "-" for one that is in floats or not there."""
    if layer.weight_bits is None and layer.grid is None:
        return "float"
    weight = "-" if layer.weight_bits is None else str(layer.weight_bits)
    data = "-" if layer.grid is None else str(layer.grid.bits)
    return f"{weight}/{data}"


def expected(verdict: Verdict) -> str:
    """What a remedy is expected to gain, "" where that cannot be foretold."""
    if verdict.gain is None or verdict.gain <= 0:
        return ""
    return f"is expected to take away {percent(min(1.0, verdict.gain))} of the output's error"


def milliseconds(time: float) -> str:
    """Three digits of a time, as many as are steady: 0.0142 ms, 0.31 ms, 12.6 ms."""
    return f"{time:.3g} ms" if abs(time) >= 1e-4 else "0 ms"


def figures(size: float | None, time: float | None) -> str:
    """What a remedy changes: "(+0.02 MB, +0.3 ms)"; "" where nothing is known."""
    parts = [] if size is None else [_size(size)]
    if time is not None:
        parts.append(f"{time:+.2g} ms" if abs(time) >= 1e-4 else "no time")
    return f" ({', '.join(parts)})" if parts else ""


def _size(count: float) -> str:
    return f"{count / 1e6:+.2g} MB" if abs(count) >= 1e3 else f"{count:+.0f} bytes"


def run_times(times: Times) -> str:
    """How long a run takes in both files, and what of it is no layer's, as a sentence."""
    before, after = times.conversions
    return (
        f"a run takes {milliseconds(times.original)} in the original and "
        f"{milliseconds(times.compressed)} compressed, of which conversions "
        f"{milliseconds(before)} and {milliseconds(after)}, and what is no layer "
        f"{milliseconds(times.rest[0])} and {milliseconds(times.rest[1])} "
        f"({times.inputs}; {times.threads} thread{'s' if times.threads > 1 else ''})"
    )


def layer_time(found: LayerTime | None) -> str:
    """A layer's time in both files, its conversions in the second: 0.25 -> 0.42."""
    if found is None:
        return ""
    if found.fused and not found.original:
        return f"fused -> {found.compressed + found.conversions:.2g}"
    return f"{found.original:.2g} -> {found.compressed + found.conversions:.2g}"


def fit(grid: Grid) -> str:
    """How a grid's range fits the values that were seen, in one sentence."""
    clipped = ""
    if grid.clipped > 0:
        share = "< 0.01 %" if grid.clipped < 1e-4 else f"{100 * grid.clipped:.2g} %"
        clipped = f"{share} of the values lie outside and are cut off"
    seen = max(grid.high, 0.0) - min(grid.low, 0.0)
    if not seen > 0:
        return clipped or "nothing but zeros was seen"
    times = (grid.clip_high - grid.clip_low) / seen
    if times >= 1.5:
        wide = "far wider than" if not times < FAR else f"{times:.1f} times as wide as"
        wide = f"the range is {wide} what was seen"
        return f"{wide}; {clipped}" if clipped else wide
    return clipped or "the range holds all that was seen"


def ends(low: float, high: float) -> str:
    """Both ends of a range with three digits."""
    return f"{low:.3g} to {high:.3g}"


def holding(channels: Channels) -> str:
    """Which channels hold a range: 5 of 96 output channels hold the range (38x the median)."""
    kind = {
        "input": "input channels of the weight",
        "output": "output channels of the weight",
        "activation": "channels of the input",
    }[channels.axis]
    count = len(channels.worst)
    verb = "holds" if count == 1 else "hold"
    return (
        f"{count} of {channels.count} {kind} {verb} the range, the widest "
        f"{times_wider(channels.spread)} the median: {', '.join(map(str, channels.worst))}"
    )


def times_wider(spread: float) -> str:
    """A ratio of magnitudes that may be beyond all measure where most channels are zero."""
    return "far beyond" if not spread < FAR else f"{spread:.3g}x"


def elsewhere(layers: Sequence[LayerError]) -> str:
    """What would saturate where it does not count, "" where nothing would."""
    if not layers:
        return ""
    count = "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
    worst = layers[0]
    return (
        f"on a processor that adds in 16 bits (x86 without VNNI) {count} would saturate besides, "
        f"the most {worst.name}, an error of {decibels(worst.parts.saturation)} dB there "
        "(emulated): --cpu avx2 counts it"
    )


def shifted(shift: Shift) -> str:
    """How a tensor differs between calibration and validation data."""
    place = (
        f"{shift.tensor}, the model's input" if shift.layer is None else f"input of {shift.layer}"
    )
    beyond = ""
    if shift.beyond > shift.beyond_before:
        what = "of its grid" if shift.layer is not None else "of what calibration saw"
        beyond = f"; {100 * shift.beyond:.2g} % of the values lie outside {what}"
    return (
        f"{place}: {ends(*shift.calibration)} on calibration data, {ends(*shift.validation)} on "
        f"these{beyond}; the distributions are {percent(shift.distance)} apart, halves of the "
        f"calibration data {percent(shift.usual)}"
    )


def by_reason(unmatched: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names of unmatched layers by why they are, the commonest reason first."""
    groups: dict[str, list[str]] = {}
    for name, why in unmatched:
        groups.setdefault(why, []).append(name)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _share_of_power(error: float) -> str:
    share = 100 * error
    return f"{share:.2g} %" if share < 10 else f"{share:,.0f} %"
