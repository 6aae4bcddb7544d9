"""Two results side by side: what can be compared is, what cannot is shown with the reason.

Two runs were measured at different times, so that their latencies are never divided by each
other. Each was timed in turns with its original, and where machine, settings, runtime and original
are the same the two speed-ups can be. The interval of a difference of two estimates is made from
their own by the method of variance estimates recovery (Zou and Donner, Construction of confidence
limits about effect measures, 2008), taking their errors as independent; two drops on the same
samples move together, which makes the true interval narrower, never wider.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lissom.measurement.records import Estimate, Measurement
from lissom.report import text
from lissom.report.results import Results, Row
from lissom.report.stored import Stored


class Record(BaseModel):
    """A frozen part of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(Record):
    """The outcome of one result: its chosen file, or the original where nothing was chosen."""

    folder: str
    name: str
    chosen: bool
    results: Results
    measurement: Measurement


class Step(Record):
    """A step of the two recipes: in both, or only in the first or the second."""

    place: Literal["both", "first", "second"]
    words: str


class Fact(Record):
    """Something about how both were made and measured."""

    name: str
    first: str
    second: str
    same: bool


class Comparison(Record):
    """Two results side by side.

    Attributes:
        size: how many times smaller the second outcome is than the first.
        same_original: both were made from the same model.
        same_file: both outcomes are one model file, byte for byte.
        speed: how many times faster the second is, None where that cannot be told.
        quality: how much more the second lost than the first, in the metric's unit, positive
            when the second is worse; None where that cannot be told.
        warnings: why something cannot be compared, and what else a reader must know.
        facts: machine, runtime, task and settings of both.
    """

    schema_version: int = 1
    first: Side
    second: Side
    same_original: bool
    same_file: bool
    size: float
    speed: Estimate | None
    quality: Estimate | None
    warnings: tuple[str, ...]
    steps: tuple[Step, ...]
    facts: tuple[Fact, ...]


def compare(first: Stored, second: Stored) -> Comparison:
    """Lay the outcomes of two runs side by side."""
    sides = _side(first), _side(second)
    one, other = (side.measurement for side in sides)
    told = facts(first.results, second.results)
    warnings = [_nothing_chosen(side) for side in sides if not side.chosen]
    if first.results == second.results:
        warnings.append("Both folders hold the results of the same run.")
    same_file = _same_file(first, second)
    if same_file and first.results != second.results:
        warnings.append(
            "The two model files are the same, byte for byte: where their numbers differ, it is "
            "from measuring twice."
        )
    same_original = _same_original(first, second)
    if not same_original:
        warnings.append(
            "The originals are different models: latency and quality are shown and not compared."
        )
    speed, why = _speed(sides[0], sides[1], told, same_original=same_original, same_file=same_file)
    quality, why_not = _quality(sides[0], sides[1], same_original=same_original)
    return Comparison(
        first=sides[0],
        second=sides[1],
        same_original=same_original,
        same_file=same_file,
        size=one.footprint.bytes / other.footprint.bytes,
        speed=speed,
        quality=quality,
        warnings=tuple(filter(None, [*warnings, why, why_not])),
        steps=_steps(first.results.outcome, second.results.outcome),
        facts=told,
    )


def facts(first: Results, second: Results) -> tuple[Fact, ...]:
    """Machine, runtime, settings, task and limits of both."""
    read: dict[str, Callable[[Results], str]] = {
        "Model": lambda results: results.model,
        "Task": lambda results: results.task,
        "Budget": lambda results: ", ".join(f"{k} {v}" for k, v in results.budget.items()) or "-",
        "Processor": lambda results: f"{results.machine.cpu} ({results.machine.architecture})",
        "Instructions": lambda results: ", ".join(results.machine.features) or "-",
        "Cores": lambda results: str(results.machine.cores),
        "Built for": lambda results: results.cpu or "-",
        "System": lambda results: f"{results.machine.system}, Python {results.machine.python}",
        "Runtime": lambda results: results.target,
        "One run": lambda results: text.conditions(results.settings),
        "lissom": lambda results: results.lissom,
    }
    both = ((name, tell(first), tell(second)) for name, tell in read.items())
    return tuple(Fact(name=n, first=a, second=b, same=a == b) for n, a, b in both)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """The second less the first, with the interval that theirs leave."""
    value = second.value - first.value
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return Estimate(value=value, low=value - below, high=value + above)


def quotient(first: Estimate, second: Estimate) -> Estimate:
    """The second over the first, both positive: their difference on the scale of logarithms."""
    logs = [
        Estimate(value=math.log(one.value), low=math.log(one.low), high=math.log(one.high))
        for one in (first, second)
    ]
    found = difference(*logs)
    return Estimate(value=math.exp(found.value), low=math.exp(found.low), high=math.exp(found.high))


def _side(stored: Stored) -> Side:
    results = stored.results
    outcome = results.outcome
    row = outcome or results.original
    return Side(
        folder=str(stored.folder),
        name=row.name,
        chosen=outcome is not None,
        results=results,
        measurement=row.measurement,
    )


def _nothing_chosen(side: Side) -> str:
    return f"Nothing was chosen in {side.folder}: its original stands for it."


def _same_original(first: Stored, second: Stored) -> bool:
    """By the digest where both folders have a manifest, else by what the file holds."""
    if first.manifest is not None and second.manifest is not None:
        return first.manifest.original.get("digest") == second.manifest.original.get("digest")
    one, other = (
        stored.results.original.measurement.footprint.model_copy(update={"peak_memory": None})
        for stored in (first, second)
    )
    return one == other


def _same_file(first: Stored, second: Stored) -> bool:
    """By the digests of the model and of the weights beside it, where both folders hold theirs."""
    found = []
    for stored in (first, second):
        manifest, outcome = stored.manifest, stored.results.outcome
        if manifest is None or outcome is None or manifest.name != outcome.name:
            return False  # a folder may hold another file than the one its report is about
        model, data = manifest.model, f"{manifest.model}.data"
        found.append((manifest.files.get(model), manifest.files.get(data)))
    return found[0] == found[1] and found[0][0] is not None


# The facts that must be the same for two speed-ups to be compared.
SPEED_FACTS = ("Processor", "Instructions", "Cores", "Runtime", "One run")


def _speed(
    first: Side, second: Side, told: tuple[Fact, ...], *, same_original: bool, same_file: bool
) -> tuple[Estimate | None, str]:
    """How many times faster the second is, or why that cannot be told."""
    gains = [_gain(side) for side in (first, second)]
    if None in gains:
        return None, _unmeasured("Latency", first, second, gains)
    if not same_original:
        return None, ""
    differing = [fact.name for fact in told if fact.name in SPEED_FACTS and not fact.same]
    if {"Processor", "Instructions", "Cores"} & set(differing):
        return None, (
            "The machines are different: latencies are shown and not compared. Measure both on "
            "one machine with `lissom measure A --against B`."
        )
    if differing:
        names = {"Runtime": "runtimes", "One run": "conditions of one run"}
        listed = " and ".join(names[name] for name in differing)
        return None, f"The {listed} are different: latencies are shown and not compared."
    one, other = gains
    assert one is not None and other is not None
    if same_file or first.results == second.results:
        return Estimate(value=1.0, low=1.0, high=1.0), ""
    return quotient(one, other), ""


def _unmeasured(what: str, first: Side, second: Side, found: Sequence[object]) -> str:
    missing = [side for side, one in zip((first, second), found, strict=True) if one is None]
    where = f"in {missing[0].folder}" if len(missing) == 1 else "in either"
    return f"{what} was not measured {where}, so it is not compared."


def _gain(side: Side) -> Estimate | None:
    """The speed-up over the original; the original's own is 1."""
    speed = side.measurement.speed
    if speed is not None:
        return speed.ratio
    own = not side.chosen and side.measurement.latency is not None
    return Estimate(value=1.0, low=1.0, high=1.0) if own else None


def _quality(first: Side, second: Side, *, same_original: bool) -> tuple[Estimate | None, str]:
    """How much more the second lost, or why that cannot be told."""
    one, other = first.measurement.quality, second.measurement.quality
    if one is None or other is None:
        return None, _unmeasured("Quality", first, second, (one, other))
    if not same_original:
        return None, ""
    if (one.metric, one.fidelity) != (other.metric, other.fidelity):
        return None, (
            f"Quality is {text.metric_label(one)} in one and {text.metric_label(other)} in the "
            "other: it is shown and not compared."
        )
    # The same samples give the same original the same score; a copy's fidelity to itself says
    # nothing of the samples, so then the task must be called the same.
    alike = math.isclose(one.original.value, other.original.value, rel_tol=1e-6, abs_tol=1e-9)
    named = first.results.task == second.results.task or not one.fidelity
    if one.samples != other.samples or not alike or not named:
        return None, "The validation samples are different: quality is shown and not compared."
    if not math.isfinite(one.drop.value + other.drop.value):
        return None, "A quality is not a number, so it is not compared."
    if one == other:
        return Estimate(value=0.0, low=0.0, high=0.0), ""
    return difference(one.drop, other.drop), ""


def _steps(first: Row | None, second: Row | None) -> tuple[Step, ...]:
    """The steps of both recipes in order, what they share once."""
    one, other = (() if row is None else row.steps for row in (first, second))
    told: list[Step] = []
    matcher = difflib.SequenceMatcher(a=one, b=other, autojunk=False)
    for tag, start, end, begin, stop in matcher.get_opcodes():
        if tag == "equal":
            told += [Step(place="both", words=words) for words in one[start:end]]
            continue
        told += [Step(place="first", words=words) for words in one[start:end]]
        told += [Step(place="second", words=words) for words in other[begin:stop]]
    return tuple(told)
