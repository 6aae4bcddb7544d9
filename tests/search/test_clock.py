"""A limit on the time: how it is read, and what is left of it."""

from __future__ import annotations

import math

import pytest

from lissom.errors import RequestError
from lissom.search import clock
from lissom.search.clock import Clock, clock_of, parse_time


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("10m", 600), ("90s", 90), ("1h30m", 5400), ("1.5 h", 5400), ("2 MIN", 120),
        ("45", 45), (45, 45), (0.5, 0.5), ("1h 5s", 3605),
    ],
)  # fmt: skip
def test_times_as_people_write_them(typed: str | float, seconds: float) -> None:
    assert parse_time(typed) == seconds


@pytest.mark.parametrize("typed", ["", "ten", "10 parsecs", "m", "10m!", None, "5x3m"])
def test_what_is_no_time(typed: str) -> None:
    with pytest.raises(RequestError, match="cannot read the time") as caught:
        parse_time(typed)
    assert '"10m"' in str(caught.value.fix)


@pytest.mark.parametrize("typed", ["0s", 0, "-5"])
def test_a_time_in_which_nothing_can_be_done(typed: str | float) -> None:
    with pytest.raises(RequestError, match="in which nothing can be done"):
        parse_time(typed)


@pytest.mark.parametrize("typed", ["inf", float("nan"), "1e300", "9" * 400 + "h"])
def test_a_time_that_does_not_end(typed: str | float) -> None:
    with pytest.raises(RequestError, match="which is no limit"):
        parse_time(typed)


def test_a_clock_that_runs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "monotonic", lambda: 7.0)
    running = Clock(60, started=2.0)
    assert clock_of(running) is running
    assert clock_of("1m") == Clock(60, started=7.0)
    assert not clock_of(None).limited


def test_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    counted, free = Clock(600), Clock()
    now += 475
    assert counted.left() == 125
    assert counted.words() == "2 min 05 s of 10 min 00 s left"
    assert free.left() == math.inf
    assert counted.limited
    assert not free.limited
    now += 200
    assert counted.left() == -75
    assert counted.words().startswith("0 s of")
