"""Words for numbers: exact, honest about what is worse, never rounding a loss away."""

from __future__ import annotations

import pytest

from lissom.measurement.records import Estimate, Quality, Settings
from lissom.report import text
from lissom.report.results import Results, Row
from tests.report.invented import fidelity, perplexity, row, speed


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (22_100_000, "22.1 MB"),
        (999_950_000, "1.00 GB"),
        (1_310_000_000, "1.31 GB"),
    ],
)
def test_sizes_are_decimal(count: int, words: str) -> None:
    assert text.size(count) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(3.913, "3.9x"), (1.43, "1.43x"), (0.868, "0.87x"), (1.996, "2.0x"), (12.34, "12.3x")],
)
def test_ratios_have_the_digits_that_matter(value: float, words: str) -> None:
    assert text.ratio(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0421, "0.042 ms"),
        (0.00463, "0.0046 ms"),
        (0.4167, "0.42 ms"),
        (0.9961, "1.0 ms"),
        (6.38, "6.4 ms"),
        (99.97, "100 ms"),
        (142.6, "143 ms"),
        (12_345.0, "12.3 s"),
    ],
)
def test_milliseconds(value: float, words: str) -> None:
    assert text.milliseconds(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(7.6, "8 s"), (185, "3 min 05 s"), (4320, "1 h 12 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "1.000"),
        (0.991, "0.991"),
        (0.99962, "0.9996"),
        (0.99998, "0.99998"),
        (0.999997, "0.99999"),
        (0.9999996, "1.000"),
        (0.0, "0.000"),
        (0.000032, "3.2e-05"),
        (21.337, "21.34"),
        (12_345.6, "12,346"),
        (-0.25, "-0.250"),
        (float("nan"), "nan"),
    ],
)
def test_scores_below_one_are_not_called_one(value: float, words: str) -> None:
    assert text.score(value) == words


def test_a_drop_of_a_share_is_in_points_and_has_no_negative_zero() -> None:
    quality = fidelity(0.9912, 0.0008)
    assert text.drop(quality) == "0.88 pt"
    assert text.drop_interval(quality) == "[0.80, 0.96]"
    better = quality.model_copy(update={"drop": Estimate(value=-0.00001, low=-0.003, high=0.0005)})
    assert text.drop(better) == "0.00 pt"
    assert text.drop_interval(better) == "[-0.30, 0.05]"


def test_a_drop_of_another_metric_is_in_its_own_unit() -> None:
    quality = perplexity(20.9, 21.34)
    assert text.drop(quality) == "0.440"
    assert text.drop_interval(quality) == "[0.240, 0.640]"


def test_conditions_name_threads_batch_and_shapes() -> None:
    assert text.conditions(Settings()) == "one thread, batch 1"
    assert (
        text.conditions(Settings(threads=2, batch=8, shapes={"ids": (8, 128)}))
        == "2 threads, batch 8, ids 8x128"
    )


def test_sentence_of_a_good_result(original: Row, chosen: Row) -> None:
    told = text.sentence("all-MiniLM-L6-v2", original, proven(chosen), Settings())
    assert told == (
        "all-MiniLM-L6-v2 became 3.9x smaller (90.8 -> 23.2 MB) and 2.9x faster (6.4 -> 2.2 ms, "
        "one thread, batch 1) and keeps 99.1 % of its quality (cosine fidelity 0.991 to the "
        "original; no labels were used)."
    )


def test_sentence_says_what_is_not_proven(original: Row, chosen: Row) -> None:
    told = text.sentence("m", original, chosen, Settings())
    assert told.endswith(
        " Not proven: drop 0.90 pt is inside the limit 1pt, its interval (up to 1.02 pt) is not."
    )


def test_sentence_with_labels_gives_the_drop_and_its_interval(original: Row) -> None:
    quality = Quality(
        metric="accuracy",
        bounded=True,
        higher_is_better=True,
        fidelity=False,
        samples=2000,
        original=Estimate(value=0.912, low=0.9, high=0.92),
        value=Estimate(value=0.904, low=0.89, high=0.92),
        drop=Estimate(value=0.008, low=0.002, high=0.014),
    )
    told = text.sentence("net", original, row("a", 23_204_000, None, quality), Settings())
    assert told == (
        "net became 3.9x smaller (90.8 -> 23.2 MB) and keeps 99.1 % of its quality (accuracy "
        "0.912 -> 0.904, drop 0.80 pt [0.20, 1.40], 2,000 samples). Its speed was not measured."
    )


@pytest.mark.parametrize(
    ("count", "after", "verdict", "words"),
    [
        (15_160_000, 7.1, "slower", "6.0x smaller (90.8 -> 15.2 MB) but 1.11x slower (6.4 -> 7.1"),
        (181_624_690, 7.1, "slower", "2.0x larger (90.8 -> 181.6 MB) and 1.11x slower (6.4"),
        (90_812_345, 3.2, "faster", "no smaller (90.8 -> 90.8 MB) but 2.0x faster (6.4 -> 3.2"),
        (
            908_123,
            6.3,
            "too noisy to tell",
            "100x smaller (90.8 MB -> 908.1 kB) but not measurably faster or slower (1.02x "
            "[0.95, 1.10], too noisy to tell; 6.4 -> 6.3 ms, one thread, batch 1)",
        ),
    ],
)
def test_sentence_says_what_is_worse_or_not_known(
    original: Row, count: int, after: float, verdict: str, words: str
) -> None:
    candidate = row("a", count, speed(6.4, after, 0.95, 1.10, verdict), None)
    told = text.sentence("net", original, candidate, Settings())
    assert told.startswith(f"net became {words}")
    assert told.endswith("Its quality was not measured.")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.99999, "and keeps all of its quality"),
        (0.9982, "and keeps 99.8 % of its quality"),
        (0.99949, "and keeps 99.94 % of its quality"),
        (0.9998, "and keeps 99.98 % of its quality"),
        (0.612, "but keeps only 61.2 % of its quality"),
    ],
)
def test_what_was_kept_is_rounded_down(original: Row, value: float, words: str) -> None:
    candidate = row("a", 1_000_000, None, fidelity(value, 0.0))
    assert words in text.sentence("net", original, candidate, Settings())


def test_a_metric_that_falls_has_no_share_kept(original: Row) -> None:
    candidate = row("a", 1_000_000, None, perplexity(20.9, 21.34))
    told = text.sentence("lm", original, candidate, Settings())
    assert (
        "; its perplexity is worse (perplexity 20.90 -> 21.34, drop 0.440 [0.240, 0.640]," in told
    )


def test_no_loss_is_claimed_where_the_interval_holds_none(original: Row) -> None:
    for low, words in (
        (-1.1e-05, "; no loss of perplexity is seen (perplexity 1.15 -> 1.15, drop 7.3e-06 [-1.1"),
        (1.1e-06, "; its perplexity is worse (perplexity 1.15 -> 1.15, drop 7.3e-06 [1.1e-06"),
    ):
        lost = Estimate(value=7.3e-06, low=low, high=2.4e-05)
        quality = perplexity(1.15, 1.1500073).model_copy(update={"drop": lost})
        assert words in text.sentence("m", original, row("a", 9, None, quality), Settings())
    better = row("a", 9, None, perplexity(21.34, 20.9))
    assert "; its perplexity is no worse (" in text.sentence("m", original, better, Settings())


def test_nan_is_called_not_a_number(original: Row) -> None:
    candidate = row("a", 1_000_000, None, fidelity(float("nan"), 0.0))
    assert "cosine fidelity is not a number" in text.sentence("m", original, candidate, Settings())


def test_sentence_when_nothing_fits_names_the_nearest_and_the_limits(original: Row) -> None:
    near = row(
        "int8",
        23_204_000,
        speed(6.4, 2.2, 2.8, 3.0),
        fidelity(0.97, 0.001),
        misses=("drop 3 pt exceeds 1pt by 2 pt",),
    )
    told = text.sentence("net", original, None, Settings(), nearest=near)
    assert told == (
        "No candidate is inside the budget; net stays as it is. The nearest, int8, would be 3.9x "
        "smaller (90.8 -> 23.2 MB) and 2.9x faster (6.4 -> 2.2 ms, one thread, batch 1) and would "
        "keep 97.0 % of its quality (cosine fidelity 0.970 to the original; no labels were used). "
        "Over the budget: drop 3 pt exceeds 1pt by 2 pt."
    )


def test_sentence_of_a_recipe_says_after_how_many_steps(original: Row, chosen: Row) -> None:
    told = text.sentence("m", original, proven(chosen), Settings(), steps=4)
    assert told.startswith("After 4 steps m became 3.9x smaller (90.8 -> 23.2 MB) and 2.9x faster")
    missed = chosen.model_copy(
        update={"misses": ("drop 3 pt exceeds 1pt by 2 pt",), "unproven": ()}
    )
    told = text.sentence("m", original, None, Settings(), nearest=missed, steps=1)
    assert told.startswith("After 1 step m became 3.9x smaller")
    assert told.endswith("Over the budget: drop 3 pt exceeds 1pt by 2 pt.")


def test_an_interval_of_zero_width_says_what_goes_unseen(results: Results) -> None:
    assert text.unseen(results) == (
        "an interval of zero width means that all samples agree; with 1,500 samples, differences "
        "rarer than 0.2 % (3/n) go unseen"
    )
    wide = tuple(row for row in results.rows if row.name != "graph.optimize")
    assert text.unseen(results.model_copy(update={"rows": wide})) == ""


def test_the_same_speed_is_no_gain_and_no_noise(original: Row) -> None:
    same = row("a", 23_204_000, speed(6.4, 6.38, 0.995, 1.01, "the same speed"), None)
    assert text.remarks(same) == ("no faster than the original",)
    noisy = same.model_copy(update={"flags": ("noisy data",)})
    assert text.remarks(noisy) == ("noisy data", "no faster than the original")
    told = text.sentence("net", original, same, Settings())
    assert "3.9x smaller (90.8 -> 23.2 MB) but no faster (6.4 ms, one thread" in told
    assert same.measurement.speed is not None
    assert text.speed_up(same.measurement.speed) == "the same speed"


def test_the_times_of_a_sentence_have_the_speed_up_as_their_quotient(original: Row) -> None:
    """Medians over all runs say 4.0x where pairs in turns say 3.4x: the latter is told, and no
    time that nobody measured."""
    timed = speed(9.7, 2.4, 2.7, 2.9).model_copy(
        update={"ratio": Estimate(value=3.4, low=3.3, high=3.5)}
    )
    told = text.sentence("net", original, row("a", 23_204_000, timed, None), Settings())
    assert "3.4x faster (one thread, batch 1)." in told
    # The original timed by itself, as the table gives it, where that agrees.
    near = speed(6.5, 2.2, 2.8, 3.0)
    told = text.sentence("net", original, row("a", 23_204_000, near, None), Settings())
    assert "3.0x faster (6.4 -> 2.2 ms," in told


def test_a_small_gain_shows_the_digits_that_make_it(original: Row) -> None:
    barely = speed(3.03, 3.0, 1.005, 1.02)
    alone = original.measurement.model_copy(update={"latency": barely.original})
    original = original.model_copy(update={"measurement": alone})
    told = text.sentence("net", original, row("a", 23_204_000, barely, None), Settings())
    assert "1.01x faster (3.03 -> 3.00 ms," in told


def test_sentence_when_nothing_was_built(original: Row) -> None:
    told = text.sentence("net", original, None, Settings())
    assert told == "Nothing was gained: net stays as it is (90.8 MB)."


def test_slower_and_noisy_are_said_even_when_no_flag_does() -> None:
    slow = row("a", 10, speed(1, 2, 0.4, 0.6, "slower"), None)
    assert text.remarks(slow) == ("slower than the original",)
    flagged = slow.model_copy(update={"flags": ("slower than the original",)})
    assert text.remarks(flagged) == ("slower than the original",)
    noisy = row("a", 10, speed(1, 1, 0.9, 1.1, "too noisy to tell"), None, misses=("x", "y"))
    assert text.remarks(noisy) == ("speed: too noisy to tell", "over budget: x; y")


def proven(chosen: Row) -> Row:
    return chosen.model_copy(update={"unproven": ()})


def test_sentence_when_only_rows_without_a_gain_fit(original: Row) -> None:
    near = row("int8", 23_204_000, None, None, misses=("size 23.2 MB exceeds 5MB by 18.2 MB",))
    told = text.sentence("net", original, None, Settings(), nearest=near, fitting=True)
    assert told.startswith("No candidate inside the budget is smaller or faster; net stays")
