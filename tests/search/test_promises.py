"""Limits next to a new measurement: kept, broken, not proven, not to be told here."""

from __future__ import annotations

import pytest

from lissom.search.budget import Budget
from lissom.search.promises import Promise, judge_promises
from tests.search.rows import measurement

ALL = {"size": "2MB", "latency": "20ms", "throughput": "50/s", "memory": "60MB", "drop": "1pt"}


def judged(name: str, **numbers: float | None) -> Promise:
    (found,) = judge_promises({name: ALL[name]}, Budget(), measurement(**numbers))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("name", "kept", "broken", "words"),
    [
        ("size", {"size": 2_000_000}, {"size": 2_000_001}, "2.0 MB"),
        ("latency", {"p50": 20.0}, {"p50": 20.1}, "20.1 ms (95 % of runs within 20.1 ms)"),
        ("throughput", {"throughput": 50.0}, {"throughput": 49.9}, "49.9/s"),
        ("memory", {"memory": 60_000_000}, {"memory": 61_000_000}, "61.0 MB"),
        ("drop", {"drop": 0.01}, {"drop": 0.011}, "1.10 pt [1.10, 1.10] on 100 samples"),
    ],
)
def test_a_limit_is_kept_or_broken(
    name: str, kept: dict[str, float], broken: dict[str, float], words: str
) -> None:
    found = judged(name, **kept)
    assert (found.holds, found.source) == (True, "recorded")
    assert str(found).endswith(": holds")
    found = judged(name, **broken)
    assert found.holds is False
    assert found.found == words
    assert f"{name}: promised {ALL[name]}, found {words}: does not hold (" in str(found)


def test_a_drop_that_is_not_proven_holds_and_says_so() -> None:
    found = judged("drop", drop=0.005, high=0.02)
    assert found.holds is True
    assert "not proven" in found.why


def test_an_option_replaces_the_recorded_limit_of_its_name() -> None:
    size, latency = judge_promises(
        {"size": "2MB", "latency": "20ms"}, Budget(size="1kB"), measurement()
    )
    assert (size.promised, size.source, size.holds) == ("1kB", "option", False)
    assert (latency.promised, latency.source, latency.holds) == ("20ms", "recorded", True)


def test_recorded_times_are_not_judged_on_another_machine() -> None:
    found = judge_promises(ALL, Budget(), measurement(p50=99.0, drop=0.0), elsewhere="elsewhere")
    told = {each.name: each for each in found}
    assert {name for name, each in told.items() if each.holds is None} == {"latency", "throughput"}
    assert told["latency"].why == "elsewhere; --max-latency judges it here"
    asked = judge_promises(
        ALL, Budget(latency="20ms"), measurement(p50=99.0), elsewhere="elsewhere"
    )
    assert {each.name: each.holds for each in asked}["latency"] is False


def test_what_was_not_measured_cannot_be_told() -> None:
    (found,) = judge_promises({"drop": "1pt"}, Budget(), measurement(), unjudged="no data")
    assert (found.holds, found.found, found.why) == (None, "", "no data")
    assert judged("memory", memory=None).holds is None


def test_points_of_a_metric_that_has_none_cannot_be_told() -> None:
    found = measurement(drop=0.0)
    assert found.quality is not None
    unbounded = found.quality.model_copy(update={"bounded": False})
    found = found.model_copy(update={"quality": unbounded})
    (promise,) = judge_promises({"drop": "1pt"}, Budget(), found)
    assert promise.holds is None
