"""Budgets: every way to write one, what is refused, what is missed and by how much."""

from __future__ import annotations

import math

import pytest

from lissom.errors import RequestError
from lissom.search.budget import Budget, Drop, parse_drop
from tests.search.rows import measurement, quality


@pytest.mark.parametrize(
    ("limit", "inside", "outside"),
    [
        ("25MB", 25_000_000, 25_000_001),
        ("25 mb", 25_000_000, 25_000_001),
        ("24MiB", 24 * 2**20, 24 * 2**20 + 1),
        ("1.5kB", 1500, 1501),
        (".5GB", 500_000_000, 500_000_001),
        ("2e3B", 2000, 2001),
    ],
)
def test_sizes_are_decimal_unless_they_say_binary(limit: str, inside: int, outside: int) -> None:
    budget = Budget(size=limit)
    assert budget.misses(measurement(size=inside)) == ()
    assert len(budget.misses(measurement(size=outside))) == 1


@pytest.mark.parametrize(("limit", "milliseconds"), [("20ms", 20), ("0.02s", 20), ("500us", 0.5)])
def test_times(limit: str, milliseconds: float) -> None:
    budget = Budget(latency=limit)
    assert budget.misses(measurement(p50=milliseconds)) == ()
    assert budget.misses(measurement(p50=milliseconds * 1.001)) != ()


def test_throughput_is_a_lower_limit() -> None:
    budget = Budget(throughput="100/s")
    assert budget.misses(measurement(throughput=100)) == ()
    assert budget.misses(measurement(throughput=99.4)) == ("throughput 99.4/s is below 100/s",)


@pytest.mark.parametrize(
    ("text", "drop"),
    [("1pt", Drop(0.01, False)), ("0.5 %", Drop(0.005, True)), ("0pt", Drop(0.0, False))],
)
def test_a_drop_is_in_points_or_relative(text: str, drop: Drop) -> None:
    assert parse_drop(text) == drop


def test_a_relative_drop_is_a_share_of_the_originals_size() -> None:
    assert Drop(0.02, relative=True).limit(quality(0, original=-0.5)) == pytest.approx(0.01)
    assert Drop(0.02, relative=False).limit(quality(0, original=-0.5)) == 0.02


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        ("size", "25", "kB, MB"),
        ("size", "25ms", "25MB"),
        ("size", "-25MB", "25MB"),
        ("size", "big", "25MB"),
        ("size", "", "25MB"),
        ("size", "1.2.3MB", "25MB"),
        ("size", "nanMB", "25MB"),
        ("latency", "20", "us, ms, s"),
        ("latency", "20MB", "20ms"),
        ("throughput", "100ms", "100/s"),
        ("memory", "1%", "25MB"),
        ("drop", "1", '"1pt"'),
        ("drop", "1MB", '"1%"'),
        ("drop", "-1pt", '"1pt"'),
        ("drop", "one", '"1pt"'),
    ],
)
def test_what_cannot_be_read_says_how_to_write_it(name: str, text: str, fix: str) -> None:
    with pytest.raises(RequestError) as caught:
        Budget(**{name: text})
    assert caught.value.what == f"cannot read the {name} {text!r}"
    assert fix in str(caught.value.fix)


def test_a_number_without_quotes_is_an_error_that_names_it() -> None:
    with pytest.raises(RequestError, match="cannot read the size 25"):
        Budget(size=25)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"cannot read the drop 0\.01"):
        Budget(drop=0.01)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [{"size": "0MB"}, {"latency": "0ms"}, {"throughput": "0/s"}])
def test_zero_is_a_limit_nothing_keeps(limit: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="which nothing can keep to"):
        Budget(**limit)


def test_a_drop_without_a_judge_is_refused() -> None:
    with pytest.raises(RequestError, match="no task that measures quality") as caught:
        Budget(drop="1pt").check(judged=False, bounded=False)
    assert "--task" in str(caught.value.fix)
    Budget(size="1MB").check(judged=False, bounded=False)


def test_points_of_a_metric_without_points_are_refused() -> None:
    with pytest.raises(RequestError, match="not a share of one") as caught:
        Budget(drop="1pt").check(judged=True, bounded=False)
    assert '"1%"' in str(caught.value.fix)
    Budget(drop="1%").check(judged=True, bounded=False)


@pytest.mark.parametrize("drop", ["1pt", "1%"])
def test_no_drop_limits_a_distance_from_the_original_itself(drop: str) -> None:
    """Its value for the original is zero: one per cent of nothing would refuse everything."""
    with pytest.raises(RequestError, match="has no meaning") as caught:
        Budget(drop=drop).check(judged=True, bounded=False, relative=False)
    assert "--metric cosine" in str(caught.value.fix)


def test_every_miss_is_told_by_how_much() -> None:
    budget = Budget(size="5kB", latency="4ms", throughput="200/s", memory="40MB", drop="1pt")
    found = measurement(size=8539, p50=7.1, throughput=140.8, memory=50_000_000, drop=0.0288)
    assert budget.misses(found) == (
        "size 8.5 kB exceeds 5kB by 3.5 kB",
        "latency 7.1 ms exceeds 4ms by 3.1 ms",
        "throughput 140.8/s is below 200/s",
        "memory 50.0 MB exceeds 40MB by 10.0 MB",
        "drop 2.88 pt exceeds 1pt by 1.88 pt",
    )


def test_a_relative_miss_is_told_in_the_metrics_unit() -> None:
    found = Budget(drop="1%").misses(measurement(drop=0.018, original=0.9))
    assert found == ("drop 0.018 exceeds 1% by 0.009",)


def test_what_was_not_measured_or_is_no_number_is_missed() -> None:
    assert Budget(memory="1MB").misses(measurement(memory=None)) == ("memory: not measured",)
    assert Budget(drop="1pt").misses(measurement(drop=math.nan)) == ("drop: not a number",)
    assert Budget(drop="1pt").misses(measurement()) == ("drop: not measured",)


def test_a_limit_that_the_interval_crosses_is_unproven() -> None:
    budget = Budget(drop="1pt")
    assert budget.unproven(measurement(drop=0.009, high=0.0102)) == (
        "drop 0.90 pt is inside the limit 1pt, its interval (up to 1.02 pt) is not; about 150 "
        "validation samples would prove it if the estimate stays (100 were judged)",
    )
    assert budget.unproven(measurement(drop=0.0, high=0.010004)) == (
        "drop 0.00 pt is inside the limit 1pt, its interval (just over 1 pt) is not; about 110 "
        "validation samples would prove it if the estimate stays (100 were judged)",
    )
    assert budget.unproven(measurement(drop=0.005, high=0.01)) == ()
    assert budget.unproven(measurement(drop=0.02, high=0.03)) == ()
    assert Budget(size="1MB").unproven(measurement(drop=0.005, high=0.9)) == ()


def test_the_rounding_of_floats_exceeds_no_limit() -> None:
    """One of 500 samples better, four worse at most: 0.8 - 0.79 is not 0.01 in floats."""
    rounded = 0.8 - 0.79
    assert rounded > 0.01
    budget = Budget(drop="1pt")
    assert budget.unproven(measurement(drop=-0.002, high=rounded)) == ()
    assert budget.misses(measurement(drop=rounded)) == ()
    assert budget.needed(measurement(drop=rounded)) == ""
    assert budget.misses(measurement(drop=0.01001)) == (
        "drop 1.00 pt exceeds 1pt by less than 0.01 pt",
    )
    assert budget.misses(measurement(drop=0.01907)) == ("drop 1.91 pt exceeds 1pt by 0.91 pt",)


def test_far_too_large_is_said_once_and_in_one_unit() -> None:
    budget, found = Budget(size="1kB"), measurement(size=1_617_000)
    assert budget.misses(found) == ("size 1.6 MB exceeds 1kB",)
    assert budget.needed(found) == "size 1.62MB instead of 1kB"
    assert Budget(size=budget.needed(found).split()[1]).misses(found) == ()
    assert Budget(size="1KiB").needed(measurement(size=5 * 2**20)) == "size 5MiB instead of 1KiB"


def test_a_relative_limit_is_unproven_in_its_own_unit() -> None:
    assert Budget(drop="1%").unproven(measurement(drop=0.0045, high=0.0055, original=0.5)) == (
        "drop 0.90 % is inside the limit 1%, its interval (up to 1.10 %) is not; about 400 "
        "validation samples would prove it if the estimate stays (100 were judged)",
    )


def test_excess_is_the_worst_ratio_to_a_limit() -> None:
    budget = Budget(size="1MB", throughput="100/s", drop="1pt")
    inside = measurement(size=500_000, throughput=200, drop=0)
    assert budget.excess(inside) <= 1
    assert budget.excess(measurement(size=2_000_000, drop=0)) == pytest.approx(2)
    assert budget.excess(measurement(throughput=25, drop=0)) == pytest.approx(4)
    assert budget.excess(measurement(drop=0.05)) == pytest.approx(3)
    assert budget.excess(measurement(drop=math.nan)) == math.inf
    assert Budget(drop="0pt").excess(measurement(drop=0.01)) == pytest.approx(2)
    assert Budget().excess(inside) == 0


@pytest.mark.parametrize(
    ("budget", "numbers", "needed"),
    [
        (Budget(size="5kB"), {"size": 8539}, "size 8.54kB instead of 5kB"),
        (Budget(size="1MiB"), {"size": 3 * 2**20}, "size 3MiB instead of 1MiB"),
        (Budget(latency="4 ms"), {"p50": 7.1001}, "latency 7.11ms instead of 4 ms"),
        (
            Budget(throughput="200/s"),
            {"throughput": 140.89},
            "throughput 140/s instead of 200/s",
        ),
        (Budget(drop="0pt"), {"drop": 0.0288}, "drop 2.88pt instead of 0pt"),
        (Budget(drop="0%"), {"drop": 0.018, "original": 0.9}, "drop 2% instead of 0%"),
        (
            Budget(size="5kB", latency="20ms", drop="1pt"),
            {"size": 8539, "drop": 0.0288},
            "size 8.54kB instead of 5kB and drop 2.88pt instead of 1pt",
        ),
        (Budget(size="1GB"), {}, ""),
        (Budget(drop="1pt"), {}, ""),
    ],
)
def test_what_would_be_needed(budget: Budget, numbers: dict[str, float], needed: str) -> None:
    assert budget.needed(measurement(**numbers)) == needed  # type: ignore[arg-type]


def test_with_what_is_needed_it_fits() -> None:
    found = measurement(size=8_539_123, p50=7.12345, throughput=140.89, drop=0.028888)
    tight = Budget(size="5MB", latency="4ms", throughput="200/s", drop="1pt")
    words = [part.split(" ")[:2] for part in tight.needed(found).split(" and ")]
    assert len(words) == 4
    assert Budget(**dict(words)).misses(found) == ()


def test_a_share_of_nothing_is_unproven_without_a_unit() -> None:
    (told,) = Budget(drop="1%").unproven(measurement(drop=0.0, high=0.01, original=0.0))
    assert told.startswith("the interval of the drop is not inside the limit 1%; the estimate is ")


def test_how_many_samples_prove_a_drop_is_a_number_too() -> None:
    budget = Budget(drop="1pt")
    assert budget.samples_needed(measurement(drop=0.009, high=0.0102)) == 144
    assert budget.samples_needed(measurement(drop=0.005, high=0.01)) is None  # proven
    assert budget.samples_needed(measurement(drop=0.02, high=0.03)) is None  # missed
    assert budget.samples_needed(measurement()) is None
    on_it = measurement(drop=0.01, high=0.02)
    assert budget.samples_needed(on_it) is None
    assert budget.unproven(on_it)[0].endswith(
        "the estimate is on the limit itself, so no number of samples would prove it"
    )


def test_a_few_samples_that_agree_prove_little() -> None:
    agreed = measurement(drop=0.0, high=0.0)  # by 100 samples: up to 3 % of all may lose
    assert Budget(drop="3pt").unproven(agreed) == ()
    (told,) = Budget(drop="1pt").unproven(agreed)
    assert told == (
        "all samples agree, and 100 do not show what fewer than 3 % of all would lose (3/n), "
        "which is more than the limit 1pt; about 300 validation samples would prove it if the "
        "estimate stays (100 were judged)"
    )
    assert Budget(drop="1pt").samples_needed(agreed) == 300
