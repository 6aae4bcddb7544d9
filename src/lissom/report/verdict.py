"""The first sentence of the page: what came out, for a reader who knows none of the terms."""

from __future__ import annotations

import math

from lissom.measurement.records import Measurement, Quality
from lissom.report import text
from lissom.report.results import Results, Row


def verdict(results: Results) -> str:
    """One or two sentences without a unit or an interval: what was gained, what it costs, limits.

    What is not proven or not measured is said here too.
    """
    outcome = results.outcome
    if outcome is None:
        fitting = any(not row.misses for row in results.rows)
        if not results.rows:
            return "Keep the original: nothing could be built from it."
        if fitting:
            return "Keep the original: nothing inside the limits came out smaller or faster."
        return "Keep the original: nothing that was tried is inside the limits that were set."
    told = f"The compressed model {_listed(_gains(results.original, outcome))}."
    rest = (_limits(results, outcome), _unmeasured(outcome.measurement))
    return " ".join(filter(None, [told, *rest]))


def _gains(original: Row, outcome: Row) -> list[str]:
    before, after = original.measurement.footprint.bytes, outcome.measurement.footprint.bytes
    share = min(round(100 * (1 - after / before)), 99)
    if share >= 1:
        told = [f"takes {share} % less space"]
    else:
        told = [f"takes {-share} % more space" if share <= -1 else "takes as much space as before"]
    speed = outcome.measurement.speed
    if speed is not None:
        gain = speed.ratio.value
        told.append(
            {
                "faster": f"answers {_times(gain)} as fast",
                "slower": f"needs {_times(1 / gain)} as long to answer",
                "the same speed": "answers no faster",
                "too noisy to tell": "may or may not answer faster (the machine was too busy to "
                "tell)",
            }[speed.verdict]
        )
    quality = outcome.measurement.quality
    return [*told, _kept(quality)] if quality is not None else told


def _kept(quality: Quality) -> str:
    lost, name = quality.drop, quality.metric
    if not math.isfinite(lost.value):
        return "gives answers that are not numbers"
    if quality.fidelity and quality.higher_is_better and text.in_points(quality):
        alike = text.percent(quality.value.value).replace(".0 %", " %")
        return f"gives answers that match the original's to {alike}"
    if quality.fidelity:
        return f"gives answers {text.score(lost.value)} away from the original's ({name})"
    amount = f"{text.points(abs(lost.value))} points" if text.in_points(quality) else ""
    amount = amount or text.score(abs(lost.value))
    if lost.low > 0:
        return f"loses {amount} of {name}"
    if lost.high < 0:
        return f"gains {amount} of {name}"
    if lost.high == 0:
        return f"keeps its {name}"
    most = text.points(lost.high) + " points" if text.in_points(quality) else text.score(lost.high)
    return f"has no clear loss of quality (at most {most} of {name})"


def _unmeasured(measured: Measurement) -> str:
    missing = []
    if measured.speed is None:
        missing.append("how fast it answers")
    if measured.quality is None:
        missing.append("how good its answers are")
    return f"{' and '.join(missing).capitalize()} was not measured." if missing else ""


def _limits(results: Results, outcome: Row) -> str:
    if outcome.misses:
        count = len(outcome.misses)
        return f"But it misses {'a limit' if count == 1 else f'{count} limits'} that {_was(count)}."
    if outcome.unproven:
        count = len(outcome.unproven)
        which = "one of them is" if count == 1 else f"{count} of them are"
        if len(results.budget) == 1:
            return "It seems to be inside the limit that was set, which is not proven yet."
        return f"It is inside the limits that were set, but {which} not proven yet."
    if not results.budget:
        return ""
    one = len(results.budget) == 1
    return f"That is inside {'the limit' if one else 'every limit'} that was set."


def _was(count: int) -> str:
    return "was set" if count == 1 else "were set"


def _times(gain: float) -> str:
    """2.9 times, twice: a ratio as it is said."""
    words = text.ratio(gain).removesuffix("x").removesuffix(".0")
    return {"2": "twice", "1.00": "about"}.get(words, f"{words} times")


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
