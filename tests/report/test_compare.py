"""Two results side by side: what is compared, and what is not and why."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lissom.artifact import Manifest
from lissom.measurement.records import Estimate
from lissom.report.compare import Comparison, Side, compare, difference, quotient
from lissom.report.compare_page import bars, render_comparison
from lissom.report.compare_text import as_text
from lissom.report.compare_words import labels, lines, sentence
from lissom.report.results import Results
from lissom.report.stored import Stored
from tests.report.invented import speed


def manifest(name: str, digest: str) -> Manifest:
    return Manifest(
        lissom="0.1.0",
        name=name,
        model="model.onnx",
        files={"model.onnx": digest},
        original={"digest": "o"},
        recipe={},
        target="",
        cpu="avx2",
        pair_sums=True,
        machine={},
        measurement={},
    )


def stored(results: Results, folder: str = "out") -> Stored:
    return Stored(Path(folder), results, None)


def choosing(results: Results, number: int) -> Results:
    rows = [one.model_copy(update={"chosen": i == number}) for i, one in enumerate(results.rows)]
    return results.model_copy(update={"rows": tuple(rows)})


@pytest.fixture
def both(results: Results) -> Comparison:
    """Dynamic int8 per channel, and static int8 percentile."""
    return compare(stored(results, "runs/a/out"), stored(choosing(results, 1), "runs/b/out"))


def test_the_difference_of_two_estimates_has_the_width_of_both() -> None:
    found = difference(
        Estimate(value=1.0, low=0.7, high=1.3), Estimate(value=2.0, low=1.6, high=2.4)
    )
    assert found.value == 1.0
    assert (found.low, found.high) == pytest.approx((0.5, 1.5))
    same = quotient(Estimate(value=2.0, low=2.0, high=2.0), Estimate(value=3.0, low=2.7, high=3.3))
    assert (same.value, same.low, same.high) == pytest.approx((1.5, 1.35, 1.65))


def test_the_interval_of_a_difference_covers_as_it_says() -> None:
    """Drawn from normals with known means, 95 % of intervals hold the true difference."""
    import numpy as np

    rng = np.random.default_rng(0)
    errors = rng.normal(0.0, (1.0, 3.0), (4000, 2))
    held = 0
    for one, other in errors:
        first = Estimate(value=one, low=one - 1.96, high=one + 1.96)
        second = Estimate(value=other, low=other - 5.88, high=other + 5.88)
        found = difference(first, second)
        held += found.low <= 0 <= found.high
    assert held / len(errors) == pytest.approx(0.95, abs=0.012)


def test_what_can_be_compared_is(both: Comparison) -> None:
    assert both.warnings == ()
    assert both.size == pytest.approx(23_204_000 / 23_310_000)
    assert both.speed is not None and both.quality is not None
    assert both.speed.value == pytest.approx((6.4 / 2.4) / (6.4 / 2.2))
    assert both.quality.value == pytest.approx(0.0166 - 0.009)
    assert both.quality.low > 0
    assert [(step.place, step.words) for step in both.steps] == [
        ("both", "graph.optimize"),
        ("first", "quantize.dynamic(weights=int7, per_channel=true)"),
        ("second", "static int8 percentile 99.99 (invented)"),
    ]
    assert sentence(both) == (
        "Beside a/out, b/out is of the same size, 1.09x slower and worse by 0.76 pt of quality."
    )


def test_a_change_of_speed_stands_with_the_speed_ups_and_not_with_the_medians(
    results: Results,
) -> None:
    """The second run met a busy machine: ten times the median, a speed-up 9 % higher."""
    one, chosen = results.original, results.rows[0]
    timed = speed(70.0, 22.0, 3.0, 3.4)
    slowed = chosen.measurement.model_copy(update={"speed": timed})
    rows = (chosen.model_copy(update={"measurement": slowed}), *results.rows[1:])
    alone = one.model_copy(
        update={"measurement": one.measurement.model_copy(update={"latency": timed.original})}
    )
    second = results.model_copy(update={"rows": rows, "original": alone})
    found = compare(stored(results), stored(second, "b"))
    told = {line.name: line for line in lines(found)}
    assert told["Latency p50"].change == ""
    assert told["Speed-up over its original"].change == "1.09x faster"
    times = next(bar for bar in bars(found) if bar.title.startswith("Time of a run"))
    assert [words for _, _, words, _ in times.rows] == ["100 %", "34 %", "31 %"]


def test_latencies_of_different_machines_are_shown_and_not_compared(results: Results) -> None:
    machine = results.machine.model_copy(update={"cpu": "Another", "cores": 64})
    found = compare(stored(results), stored(results.model_copy(update={"machine": machine}), "b"))
    assert found.speed is None
    assert "machines are different" in found.warnings[0]
    latency = next(line for line in lines(found) if line.name == "Latency p50")
    assert (latency.first, latency.second, latency.change) == ("2.2 ms", "2.2 ms", "")
    assert [fact.name for fact in found.facts if not fact.same] == ["Processor", "Cores"]
    assert "faster" not in sentence(found)
    # The bars would set them side by side as well.
    assert "<h3" in render_comparison(found) and "Time of a run" not in render_comparison(found)
    assert "warning: The machines are different" in as_text(found, 200)
    # Quality does not depend on the clock.
    assert found.quality == Estimate(value=0.0, low=0.0, high=0.0)


def test_other_conditions_are_not_compared_either(results: Results) -> None:
    threads = results.settings.model_copy(update={"threads": 2})
    found = compare(stored(results), stored(results.model_copy(update={"settings": threads})))
    assert found.speed is None
    assert "conditions of one run are different" in found.warnings[0]


def test_other_samples_or_metrics_make_quality_incomparable(
    results: Results, recipe: Results
) -> None:
    renamed = results.model_copy(update={"task": "text:others.txt"})
    found = compare(stored(results), stored(renamed))
    assert found.quality is None
    assert "validation samples are different" in found.warnings[0]
    assert found.speed is not None
    other = compare(stored(results), stored(recipe))
    assert other.speed is None and other.quality is None
    assert "originals are different models" in other.warnings[0]
    assert "Cosine fidelity / accuracy" in {line.name for line in lines(other)}


def test_where_nothing_was_chosen_the_original_stands(results: Results) -> None:
    found = compare(stored(results), stored(choosing(results, -1), "b"))
    assert found.second.name == "original"
    assert "Nothing was chosen in b" in found.warnings[0]
    assert found.size == pytest.approx(23_204_000 / 90_812_345)
    assert found.speed is not None
    assert found.speed.value == pytest.approx(2.2 / 6.4)


def test_a_quality_that_is_no_number_is_not_compared(results: Results) -> None:
    quality = results.rows[0].measurement.quality
    assert quality is not None
    nothing = Estimate(value=math.nan, low=math.nan, high=math.nan)
    broken = results.rows[0].measurement.model_copy(
        update={"quality": quality.model_copy(update={"value": nothing, "drop": nothing})}
    )
    row = results.rows[0].model_copy(update={"measurement": broken})
    found = compare(stored(results), stored(results.model_copy(update={"rows": (row,)})))
    assert found.quality is None
    assert "not a number" in found.warnings[0]


def test_labels_tell_the_folders_apart() -> None:
    def named(one: str, other: str) -> tuple[str, str]:
        sides = (Side.model_construct(folder=folder) for folder in (one, other))
        return labels(
            Comparison.model_construct(**dict(zip(("first", "second"), sides, strict=True)))
        )

    assert named("runs/a", "runs/b") == ("a", "b")
    assert named("monday/out/", "tuesday/out") == ("monday/out", "tuesday/out")
    assert named("out", "old/out") == ("out", "old/out")
    assert named("out", "out") == ("out (first)", "out (second)")


def test_the_text_fits_its_terminal(both: Comparison) -> None:
    wide = as_text(both, 120)
    assert "Size" in wide and "23.2 MB" in wide
    header = wide.splitlines()[0]
    assert header.split() == ["a/out", "b/out", "second", "beside", "first"]
    assert max(map(len, wide.splitlines())) <= 120
    assert max(map(len, as_text(both, 80).splitlines())) <= 80
    narrow = as_text(both, 60)
    assert "  a/out: 23.2 MB" in narrow


def test_the_page_is_whole_and_safe(both: Comparison) -> None:
    page = render_comparison(both)
    assert "1.09x slower" in page
    assert "0.76 pt more lost" in page
    assert "http" not in page.replace("http-equiv", "")
    evil = "</script><script>alert(1)</script>"
    hostile = both.model_copy(update={"second": both.second.model_copy(update={"folder": evil})})
    assert "alert(1)</script>" not in render_comparison(hostile)


def test_a_run_beside_itself_is_the_same_and_said_to_be(results: Results) -> None:
    found = compare(stored(results, "a"), stored(results, "b"))
    assert found.warnings == ("Both folders hold the results of the same run.",)
    assert sentence(found) == "Beside a, b is of the same size, as fast and as good."


def test_files_alike_byte_for_byte_are_called_so(results: Results) -> None:
    """Two runs that ended in one file: no difference between two timings is told as one of it."""
    chosen = results.chosen
    assert chosen is not None and chosen.measurement.speed is not None
    ratio = chosen.measurement.speed.ratio
    faster = Estimate(value=3 * ratio.value, low=3 * ratio.low, high=3 * ratio.high)
    speed = chosen.measurement.speed.model_copy(update={"ratio": faster})
    measured = chosen.measurement.model_copy(update={"speed": speed})
    again = results.model_copy(
        update={
            "rows": tuple(
                one.model_copy(update={"measurement": measured}) if one.chosen else one
                for one in results.rows
            )
        }
    )

    def saved(run: Results, folder: str, digest: str) -> Stored:
        return Stored(Path(folder), run, manifest(chosen.name, digest))

    found = compare(saved(results, "a", "1"), saved(again, "b", "1"))
    assert found.same_file and found.speed == Estimate(value=1.0, low=1.0, high=1.0)
    assert sentence(found) == "a and b hold the same model file."
    assert "the same, byte for byte" in found.warnings[0]
    other = compare(saved(results, "a", "1"), saved(again, "b", "2"))
    assert not other.same_file and "3.0x faster" in sentence(other)


def test_the_one_that_was_not_measured_is_named(results: Results) -> None:
    unjudged = tuple(
        one.model_copy(update={"measurement": one.measurement.model_copy(update={"quality": None})})
        for one in results.rows
    )
    bare = results.model_copy(update={"rows": unjudged, "budget": {}})
    one = compare(stored(results, "a"), stored(bare, "b"))
    assert one.warnings == ("Quality was not measured in b, so it is not compared.",)
    both = compare(stored(bare, "a"), stored(bare.model_copy(update={"seconds": 1.0}), "b"))
    assert both.warnings == ("Quality was not measured in either, so it is not compared.",)
    told = {line.name: (line.first, line.second) for line in lines(one)}
    assert told["Limits missed"] == ("none", "no limit was set")
    assert told["Drop from its original"][1] == ""


def test_no_bar_stands_for_two_originals(results: Results, recipe: Results) -> None:
    beside = compare(stored(results, "a"), stored(recipe, "b"))
    assert not beside.same_original
    assert sentence(beside) == "", "neither is better than the other"
    assert "Beside" not in as_text(beside)
    assert [[row[0] for row in bar.rows] for bar in bars(beside)] == [["a", "b"]]
