"""A comparison in words, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lissom.measurement.records import Quality
from lissom.report import text
from lissom.report.compare import Comparison, Side

# Speeds this close make no difference to anyone; see measurement/stats.py.
SAME = (0.98, 1.02)


@dataclass(frozen=True)
class Line:
    """One quantity of both, and how the second stands to the first; empty where nothing is known.

    `direction` is that of the second: "better", "worse", or "even" where nothing is clear.
    """

    name: str
    first: str
    second: str
    change: str
    interval: str = ""
    direction: str = "even"


def lines(comparison: Comparison) -> tuple[Line, ...]:
    """Everything measured of both outcomes, a line for each quantity."""
    first, second = comparison.first, comparison.second
    told = [
        Line("Outcome", first.name, second.name, ""),
        _size(comparison),
        _latency(comparison),
        _speed(comparison),
        *_quality(comparison),
        _memory(first, second),
        *_missed(first, second),
    ]
    return tuple(line for line in told if line.first or line.second)


def sentence(comparison: Comparison) -> str:
    """What the second outcome is beside the first, in one sentence; empty where they are made
    from different models, of which neither is the better one."""
    first, second = labels(comparison)
    if comparison.same_file:
        return f"{first} and {second} hold the same model file."
    if not comparison.same_original:
        return ""
    parts = [line for line in (_size(comparison), _speed(comparison)) if line.change]
    words = [line.change for line in parts]
    told = [
        {"the same": "of the same size"}.get(words[0], words[0]),
        *(_spoken(change) for change in words[1:]),
    ]
    if comparison.quality is not None:
        lost = next(line for line in _quality(comparison) if line.name.startswith("Drop"))
        told.append(
            {
                "same": "as good",
                "even": "not clearly better or worse in quality",
                "better": f"better by {lost.change.removesuffix(' less lost')} of quality",
                "worse": f"worse by {lost.change.removesuffix(' more lost')} of quality",
            }["same" if lost.change == "the same" else lost.direction]
        )
    listed = told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
    return f"Beside {first}, {second} is {listed}."


def labels(comparison: Comparison) -> tuple[str, str]:
    """What to call the two: the ends of their folders' paths that tell them apart."""
    parts = [side.folder.rstrip("/").split("/") for side in (comparison.first, comparison.second)]
    for count in range(1, max(map(len, parts)) + 1):
        one, other = ("/".join(names[-count:]) for names in parts)
        if one != other:
            return one, other
    return f"{parts[0][-1]} (first)", f"{parts[1][-1]} (second)"


def _spoken(change: str) -> str:
    return {"no clear difference": "not clearly faster or slower", "the same": "as fast"}.get(
        change, change
    )


def _size(comparison: Comparison) -> Line:
    one, other = (
        side.measurement.footprint.bytes for side in (comparison.first, comparison.second)
    )
    change = text.times(comparison.size, "smaller")
    direction = "even" if change == "the same" else "better" if other < one else "worse"
    return Line("Size", text.size(one), text.size(other), change, direction=direction)


def _latency(comparison: Comparison) -> Line:
    """Medians of two runs are of different moments, which is why nothing is made of them."""
    shown = [_p50(side) for side in (comparison.first, comparison.second)]
    return Line("Latency p50", shown[0], shown[1], "")


def _speed(comparison: Comparison) -> Line:
    name = "Speed-up over its original"
    shown = [_speed_up(side) for side in (comparison.first, comparison.second)]
    speed = comparison.speed
    if speed is None:
        return Line(name, shown[0], shown[1], "")
    interval = f"{text.ratio(speed.value)} {text.speed_interval(speed)}"
    if SAME[0] <= speed.low and speed.high <= SAME[1]:
        return Line(name, shown[0], shown[1], "the same", interval)
    if speed.low <= 1 <= speed.high:
        return Line(name, shown[0], shown[1], "no clear difference", interval)
    direction = "better" if speed.value > 1 else "worse"
    return Line(name, shown[0], shown[1], text.times(speed.value, "faster"), interval, direction)


def _p50(side: Side) -> str:
    measured = side.measurement
    latency = measured.speed.candidate if measured.speed else measured.latency
    return "" if latency is None else text.milliseconds(latency.p50)


def _speed_up(side: Side) -> str:
    speed = side.measurement.speed
    if speed is None:
        return "" if side.chosen else "none: it is the original"
    return f"{text.ratio(speed.ratio.value)} {text.speed_interval(speed.ratio)}"


def _quality(comparison: Comparison) -> Sequence[Line]:
    qualities = [side.measurement.quality for side in (comparison.first, comparison.second)]
    known = [quality for quality in qualities if quality is not None]
    if not known:
        return ()
    names = list(dict.fromkeys(text.metric_label(quality) for quality in known))
    scores = [_score(quality) for quality in qualities]
    sides = comparison.first, comparison.second
    drops = [_drop(quality, side) for quality, side in zip(qualities, sides, strict=True)]
    change, interval, direction = _lost(comparison, known[0])
    return (
        Line(text.titled(" / ".join(names)), scores[0], scores[1], ""),
        Line("Drop from its original", drops[0], drops[1], change, interval, direction),
    )


def _score(quality: Quality | None) -> str:
    if quality is None:
        return ""
    ends = text.interval(quality.value.low, quality.value.high, text.score)
    return f"{text.score(quality.value.value)} {ends}"


def _drop(quality: Quality | None, side: Side) -> str:
    if not side.chosen:
        return "none: it is the original"
    return "" if quality is None else f"{text.drop(quality)} {text.drop_interval(quality)}"


def _lost(comparison: Comparison, metric: Quality) -> tuple[str, str, str]:
    """How much more or less the second lost, the interval of that, and the direction."""
    more = comparison.quality
    if more is None:
        return "", "", "even"
    told = metric.model_copy(update={"drop": more})
    interval = text.drop_interval(told)
    if more.low == more.high == 0:
        return "the same", "", "even"
    if more.low <= 0 <= more.high:
        return "no clear difference", interval, "even"
    magnitude = more.model_copy(update={"value": abs(more.value)})
    amount = text.drop(metric.model_copy(update={"drop": magnitude}))
    worse = more.value > 0
    return f"{amount} {'more' if worse else 'less'} lost", interval, "worse" if worse else "better"


def _memory(first: Side, second: Side) -> Line:
    one, other = (side.measurement.footprint.peak_memory for side in (first, second))
    change, direction = "", "even"
    # Of another machine or system the same model takes another amount.
    same_machine = first.results.machine == second.results.machine
    if one and other and same_machine:
        change = text.times(one / other, "less")
        direction = "even" if change == "the same" else "better" if other < one else "worse"
    shown = [text.size(count) if count else "" for count in (one, other)]
    return Line("Peak memory", shown[0], shown[1], change, direction=direction)


def _missed(first: Side, second: Side) -> Sequence[Line]:
    if not first.results.budget and not second.results.budget:
        return ()
    return (Line("Limits missed", _misses(first), _misses(second), ""),)


def _misses(side: Side) -> str:
    outcome = side.results.outcome
    if not side.results.budget:
        return "no limit was set"
    if outcome is None:
        return "nothing is inside them" if side.results.rows else "nothing could be built"
    return "; ".join(outcome.misses) or "none"
