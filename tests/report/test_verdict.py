"""The first sentence of the page."""

from __future__ import annotations

import pytest

from lissom.report.results import Results, Row
from lissom.report.verdict import verdict
from tests.report.invented import accuracy, fidelity, row, speed


def told(results: Results, one: Row, **more: object) -> str:
    return verdict(results.model_copy(update={"rows": (one,), **more}))


def chosen(quality: object, before: float = 6.4, after: float = 2.2, words: str = "faster") -> Row:
    timed = speed(before, after, 2.8, 3.0, words)
    return row("a", 22_703_086, timed, quality, chosen=True)  # type: ignore[arg-type]


def test_a_fidelity_and_a_limit_that_is_not_proven(results: Results) -> None:
    assert verdict(results) == (
        "The compressed model takes 74 % less space, answers 2.9 times as fast and gives answers "
        "that match the original's to 99.1 %. It is inside the limits that were set, but one of "
        "them is not proven yet."
    )


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (accuracy(0.871, 0.009), "loses 4.10 points of accuracy"),
        (accuracy(0.9055, 0.007), "has no clear loss of quality (at most 1.35 points of accuracy)"),
        (accuracy(0.93, 0.005), "gains 1.80 points of accuracy"),
        (accuracy(0.912, 0.0), "keeps its accuracy"),
        (fidelity(0.99999, 0.0), "match the original's to 99.99 %"),
        (fidelity(float("nan"), 0.0), "gives answers that are not numbers"),
    ],
)
def test_what_happened_to_quality(results: Results, quality: object, words: str) -> None:
    assert words in told(results, chosen(quality))


@pytest.mark.parametrize(
    ("after", "verdict_of_speed", "words"),
    [
        (12.8, "slower", "needs twice as long to answer"),
        (3.2, "faster", "answers twice as fast"),
        (6.4, "the same speed", "answers no faster"),
        (6.3, "too noisy to tell", "may or may not answer faster"),
    ],
)
def test_speed_is_told_as_it_is(
    results: Results, after: float, verdict_of_speed: str, words: str
) -> None:
    assert words in told(results, chosen(None, after=after, words=verdict_of_speed))


def test_the_limits(results: Results, recipe: Results) -> None:
    fine = chosen(accuracy(0.912, 0.0))
    assert told(results, fine).endswith("That is inside every limit that was set.")
    assert told(results, fine, budget={"drop": "1pt"}).endswith("inside the limit that was set.")
    assert told(results, fine, budget={}).endswith("keeps its accuracy.")
    missed = recipe.rows[-1].model_copy(update={"chosen": False, "misses": ("a", "b")})
    over = recipe.model_copy(update={"rows": (*recipe.rows[:-1], missed)})
    assert verdict(over).endswith("But it misses 2 limits that were set.")


def test_where_nothing_was_chosen_the_original_stays(results: Results) -> None:
    rows = tuple(one.model_copy(update={"chosen": False}) for one in results.rows)
    assert "nothing inside the limits" in verdict(results.model_copy(update={"rows": rows}))
    missed = tuple(one.model_copy(update={"misses": ("size",)}) for one in rows)
    assert "nothing that was tried is inside" in verdict(
        results.model_copy(update={"rows": missed})
    )
    assert "nothing could be built" in verdict(results.model_copy(update={"rows": ()}))


def test_what_was_not_measured_is_said(results: Results) -> None:
    assert told(results, chosen(None)).endswith("How good its answers are was not measured.")
    still = row("a", 22_703_086, None, accuracy(0.912, 0.0), chosen=True)
    assert told(results, still).endswith("How fast it answers was not measured.")
    neither = row("a", 22_703_086, None, None, chosen=True)
    assert told(results, neither).endswith(
        "How fast it answers and how good its answers are was not measured."
    )


def test_no_model_takes_all_the_space_less(results: Results) -> None:
    tiny = row("a", 90_000, None, accuracy(0.912, 0.0), chosen=True)
    assert "takes 99 % less space" in told(results, tiny)
