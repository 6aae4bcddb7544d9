"""Numbers and outcomes in words, so that table, page and log say the same thing the same way."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable

from lissom.measurement.records import Estimate, Latency, Quality, Settings, Speed
from lissom.measurement.stats import unseen_share
from lissom.report.results import Results, Row

# What is said of a file that is not faster, and the word by which a flag has said it already.
SLOW_WORDS = {
    "slower": ("slower than the original", "slower"),
    "the same speed": ("no faster than the original", "no faster"),
    "too noisy to tell": ("speed: too noisy to tell", "noisy"),
}

# Where files are built for another processor than the one that measures.
NOT_HERE = "not measured here"


def size(count: int) -> str:
    """Bytes in decimal units, as `ls` and download pages print them: 22.1 MB."""
    value, unit = _sized(count)
    return f"{value} {unit}"


def ratio(value: float) -> str:
    """How many times: 3.9x, and two decimals below 2 where they matter: 1.43x, 0.87x."""
    decimals = 2 if value < 1.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}x"


def times(gain: float, better: str) -> str:
    """A gain as what it is, `better` being smaller, faster or less: 3.9x smaller, 1.20x larger."""
    worse = {"smaller": "larger", "faster": "slower", "less": "more"}[better]
    if "1.00x" in (ratio(gain), ratio(1 / gain)):
        return "the same"
    return f"{ratio(gain)} {better}" if gain > 1 else f"{ratio(1 / gain)} {worse}"


def speed_up(speed: Speed) -> str:
    """A speed-up in words, or that there is none to tell: 2.9x faster, the same speed."""
    vague = speed.verdict in ("too noisy to tell", "the same speed")
    return speed.verdict if vague else times(speed.ratio.value, "faster")


def milliseconds(value: float) -> str:
    """A time given in milliseconds: 0.0046 ms, 0.042 ms, 0.42 ms, 6.4 ms, 143 ms, 12.3 s."""
    text, unit = _timed(value)
    return f"{text} {unit}"


def milliseconds_between(low: float, high: float) -> str:
    """Two times, the unit once where both share it: 5.5 to 42.5 ms."""
    return _change(_timed(low), _timed(high)).replace(" -> ", " to ")


def share(value: float) -> str:
    """A part of a whole: 25 %."""
    return f"{100 * value:.0f} %"


def duration(seconds: float) -> str:
    """A time a person waits: 8 s, 3 min 05 s, 1 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def score(value: float) -> str:
    """A metric's value with the digits that tell: 0.991, 0.9996 (never rounded to 1), 21.34.

    What is within the rounding of 32-bit floats of 1 is 1.
    """
    magnitude = abs(value)
    if not math.isfinite(value):
        return str(value)
    if magnitude >= 1000:
        return f"{value:,.0f}"
    if magnitude > 1:
        return _signed_zero(f"{value:.2f}")
    if 0 < magnitude < 0.001:
        return f"{value:.2g}"
    if abs(magnitude - 1) < 1e-6:
        return f"{value:.3f}"
    for decimals in (3, 4, 5):
        text = f"{value:.{decimals}f}"
        if abs(float(text)) != 1:
            return _signed_zero(text)
    return f"{math.copysign(0.99999, value)}"


def interval(low: float, high: float, form: Callable[[float], str]) -> str:
    """Both ends in one form and the unit once: [2.8, 3.0]."""
    return f"[{_bare(form(low))}, {_bare(form(high))}]"


def speed_interval(estimate: Estimate) -> str:
    """The 95 % interval of a speed-up: [2.85, 2.98]."""
    return interval(estimate.low, estimate.high, lambda value: f"{value:.2f}")


def in_points(quality: Quality) -> bool:
    """Whether a drop of this metric is told in points of 0.01."""
    return quality.bounded


def drop(quality: Quality) -> str:
    """How much was lost, positive when worse: 0.88 pt, or in the metric's own unit."""
    return f"{points(quality.drop.value)} pt" if in_points(quality) else score(quality.drop.value)


def drop_interval(quality: Quality) -> str:
    """The 95 % interval of the drop, in the unit of `drop`: [0.80, 0.97]."""
    form = points if in_points(quality) else score
    return interval(quality.drop.low, quality.drop.high, form)


def points(value: float) -> str:
    """A difference of a 0..1 metric as points: 0.0088 is 0.88."""
    return _signed_zero(f"{100 * value:.2f}")


def percent(kept: float) -> str:
    """A share that was kept, rounded down, as what was lost is never rounded away: 99.1 %, and
    99.98 % where one digit would say no more than 99.9."""
    digits = 2 if 0.999 <= kept < 1 else 1
    return f"{math.floor(10 ** (digits + 2) * kept + 1e-9) / 10**digits:.{digits}f} %"


def metric_label(quality: Quality) -> str:
    """The metric's name, and that it is fidelity where no labels were used."""
    return f"{quality.metric} fidelity" if quality.fidelity else quality.metric


def titled(label: str) -> str:
    """A metric's label as a heading; one with capitals of its own, such as mIoU, stays."""
    return label[:1].upper() + label[1:] if label.islower() else label


def conditions(settings: Settings) -> str:
    """Under which latency was measured: one thread, batch 1, input_ids 1x128."""
    threads = "one thread" if settings.threads == 1 else f"{settings.threads} threads"
    shapes = (f"{name} {'x'.join(map(str, dims))}" for name, dims in settings.shapes.items())
    return ", ".join([threads, f"batch {settings.batch}", *shapes])


def remarks(row: Row) -> tuple[str, ...]:
    """All that must be said beside a row's numbers; slower, larger and noise never go unsaid."""
    said = list(row.flags)
    speed = row.measurement.speed
    if speed is not None and speed.verdict != "faster":
        words, mark = SLOW_WORDS[speed.verdict]
        if not any(mark in flag for flag in said):
            said.append(words)
    if row.misses:
        said.append(f"over budget: {'; '.join(row.misses)}")
    if row.unproven:
        said.append(f"not proven: {'; '.join(row.unproven)}")
    return tuple(said)


def unseen(results: Results) -> str:
    """What an interval of zero width cannot rule out, empty where there is none."""
    for row in results.rows:
        quality = row.measurement.quality
        if quality and (share_unseen := unseen_share(quality.drop, quality.samples)):
            share = f"{100 * share_unseen:.2g} %"
            return (
                "an interval of zero width means that all samples agree; with "
                f"{quality.samples:,} samples, differences rarer than {share} (3/n) go unseen"
            )
    return ""


def sentence(
    model: str,
    original: Row,
    chosen: Row | None,
    settings: Settings,
    *,
    nearest: Row | None = None,
    fitting: bool = False,
    steps: int = 0,
) -> str:
    """The summary in one sentence, two where something is unproven, unmeasured or not reached.

    `nearest` is the row closest to the budget, told when nothing was chosen; `fitting` says that
    others are inside it and gain nothing; `steps` is how many steps of a recipe led there, 0 for
    a search.
    """
    if steps and (last := chosen or nearest) is not None:
        count = "1 step" if steps == 1 else f"{steps} steps"
        parts = [f"After {count} {model} became {_outcome(original, last, settings, 'keeps')}."]
    elif chosen is not None:
        parts = [f"{model} became {_outcome(original, chosen, settings, 'keeps')}."]
    elif nearest is not None:
        outside = "No candidate is inside the budget"
        reason = "No candidate inside the budget is smaller or faster" if fitting else outside
        parts = [
            f"{reason}; {model} stays as it is.",
            f"The nearest, {nearest.name}, would be "
            f"{_outcome(original, nearest, settings, 'would keep')}.",
        ]
    else:
        amount = size(original.measurement.footprint.bytes)
        return f"Nothing was gained: {model} stays as it is ({amount})."
    return " ".join(parts + _reservations(chosen or nearest or original))


def _reservations(row: Row) -> list[str]:
    """What the first sentence must not leave unsaid."""
    told = []
    if row.measurement.speed is None:
        told.append("Its speed was not measured.")
    if row.measurement.quality is None:
        told.append("Its quality was not measured.")
    if row.misses:
        told.append(f"Over the budget: {'; '.join(row.misses)}.")
    if row.unproven:
        told.append(not_proven(row))
    return told


def not_proven(row: Row) -> str:
    """The limits that are met and not proven, as the last sentence of the summary."""
    return f"Not proven: {'; '.join(row.unproven)}."


def _outcome(original: Row, row: Row, settings: Settings, keeps: str) -> str:
    """The rest of "X became ..." without its full stop."""
    words, shrunk = _size_words(original, row)
    if row.measurement.speed is not None:
        times = in_turns(row.measurement.speed, original.measurement.latency)
        speed, quickened = _speed_words(row.measurement.speed, times, settings)
        words += f" {'and' if shrunk == quickened else 'but'} {speed}"
    if row.measurement.quality is not None:
        words += _quality_words(row.measurement.quality, keeps)
    return words


def _size_words(original: Row, row: Row) -> tuple[str, bool]:
    before, after = original.measurement.footprint.bytes, row.measurement.footprint.bytes
    change = _change(_sized(before), _sized(after))
    shrunk = before / after
    if ratio(max(shrunk, 1 / shrunk)) == "1.00x":
        return f"no smaller ({change})", False
    if shrunk > 1:
        return f"{ratio(shrunk)} smaller ({change})", True
    return f"{ratio(1 / shrunk)} larger ({change})", False


def in_turns(speed: Speed, alone: Latency | None) -> tuple[float, float] | None:
    """Milliseconds of the original and of the candidate whose quotient is the speed-up.

    Both are the medians of the table. The speed-up is of pairs of runs in turns; where the machine
    was busy for a part of the time, medians say something else.

    Returns:
        None where they do: no such times were measured.
    """
    before, after = (alone or speed.original).p50, speed.candidate.p50
    return (before, after) if 0.95 < before / (after * speed.ratio.value) < 1.05 else None


def _speed_words(
    speed: Speed, times: tuple[float, float] | None, settings: Settings
) -> tuple[str, bool]:
    where = conditions(settings)
    if times is not None:
        before, after = (_timed(time) for time in times)
        if before == after and speed.verdict in ("faster", "slower"):
            before, after = (_timed(time, more=1) for time in times)
        change = _change(before, after) if before != after else " ".join(after)
        where = f"{change}, {where}"
    if speed.verdict == "too noisy to tell":
        spread = f"{ratio(speed.ratio.value)} {speed_interval(speed.ratio)}"
        return f"not measurably faster or slower ({spread}, too noisy to tell; {where})", False
    if speed.verdict == "the same speed":
        return f"no faster ({where})", False
    if speed.verdict == "faster":
        return f"{ratio(speed.ratio.value)} faster ({where})", True
    return f"{ratio(1 / speed.ratio.value)} slower ({where})", False


def _quality_words(quality: Quality, keeps: str) -> str:
    if quality.fidelity:
        against = f"{metric_label(quality)} {score(quality.value.value)} to the original"
        source = f"{against}; no labels were used"
    else:
        values = f"{score(quality.original.value)} -> {score(quality.value.value)}"
        lost = f"drop {drop(quality)} {drop_interval(quality)}"
        source = f"{quality.metric} {values}, {lost}, {quality.samples:,} samples"
    if not math.isfinite(quality.drop.value):
        return f"; its {metric_label(quality)} is not a number"
    if not quality.higher_is_better or quality.original.value <= 0:
        if quality.drop.low <= 0 < quality.drop.value:
            return f"; no loss of {metric_label(quality)} is seen ({source})"
        worse = "worse" if quality.drop.value > 0 else "no worse"
        return f"; its {metric_label(quality)} is {worse} ({source})"
    kept = quality.value.value / quality.original.value
    if kept >= 0.99995:
        return f" and {keeps} all of its quality ({source})"
    if kept < 0.9:
        return f" but {keeps} only {percent(kept)} of its quality ({source})"
    return f" and {keeps} {percent(kept)} of its quality ({source})"


def _sized(count: int) -> tuple[str, str]:
    if count < 1000:
        return str(count), "B"
    if count < 999_950:
        return f"{count / 1e3:.1f}", "kB"
    if count < 999_950_000:
        return f"{count / 1e6:.1f}", "MB"
    return f"{count / 1e9:.2f}", "GB"


def _timed(value: float, more: int = 0) -> tuple[str, str]:
    """A time and its unit, with `more` digits than usual."""
    if value >= 9999.5:
        return f"{value / 1000:.{1 + more}f}", "s"
    for limit, decimals in ((0.00995, 4), (0.0995, 3), (0.995, 2), (99.95, 1)):
        if value < limit:
            return f"{value:.{decimals + more}f}", "ms"
    return f"{value:.{more}f}", "ms"


def _change(before: tuple[str, str], after: tuple[str, str]) -> str:
    """From one amount to another, the unit once where both share it: 90.8 -> 23.2 MB."""
    start = before[0] if before[1] == after[1] else " ".join(before)
    return f"{start} -> {' '.join(after)}"


def _bare(text: str) -> str:
    return text.split(" ")[0].removesuffix("x")


def _signed_zero(text: str) -> str:
    """Without the minus sign of a zero."""
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def wrapped(line: str, width: int) -> list[str]:
    """A line in pieces that fit, the later ones indented two more."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
