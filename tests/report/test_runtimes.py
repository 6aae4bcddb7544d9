"""A report of two runtimes: a table for each, and what is missed in one stands there."""

from __future__ import annotations

import pytest

from lissom.report.page import render_page
from lissom.report.results import Results, Row
from lissom.report.runtimes import in_runtime, runtimes
from lissom.report.terminal import as_text
from tests.report.invented import fidelity, latency, speed


def in_both(row: Row, **changes: object) -> Row:
    """A row that was measured in a second runtime too, where it takes 1.5 ms instead of 5."""
    there = row.measurement.model_copy(
        update={
            "runtime": "openvino",
            "latency": latency(5.0, 2),
            "speed": row.measurement.speed and speed(5.0, 1.5, 3.1, 3.5),
            "quality": fidelity(0.987, 0.001),
        }
    )
    here = row.measurement.model_copy(update={"runtime": "onnxruntime", "elsewhere": (there,)})
    return row.model_copy(update={"measurement": here, **changes})


@pytest.fixture
def both(results: Results) -> Results:
    misses = (
        "size 45.5 MB exceeds 25MB by 20.5 MB",
        "drop 1.66 pt exceeds 1pt by 0.66 pt (onnxruntime)",
        "drop 1.30 pt exceeds 1pt by 0.30 pt (openvino)",
    )
    first, second, *_ = results.rows
    return results.model_copy(
        update={
            "original": in_both(results.original),
            "rows": (in_both(first, unproven=()), in_both(second, misses=misses)),
        }
    )


def test_one_runtime_is_told_as_ever(results: Results) -> None:
    assert runtimes(results) == ("",)
    assert in_runtime(results, 0) is results
    assert "in onnxruntime" not in as_text(results)


def test_each_runtime_has_its_own_numbers_and_misses(both: Results) -> None:
    assert runtimes(both) == ("onnxruntime", "openvino")
    here, there = (in_runtime(both, place) for place in (0, 1))
    assert here.rows[0].measurement.speed.candidate.p50 == pytest.approx(2.2)
    assert there.rows[0].measurement.speed.candidate.p50 == pytest.approx(1.5)
    assert here.rows[1].misses == (
        "size 45.5 MB exceeds 25MB by 20.5 MB",
        "drop 1.66 pt exceeds 1pt by 0.66 pt",
    )
    assert there.rows[1].misses == ("drop 1.30 pt exceeds 1pt by 0.30 pt",)


def test_the_terminal_has_a_table_for_each(both: Results) -> None:
    before, after = as_text(both).split("in openvino\n")
    assert before.startswith("in onnxruntime\n")
    assert "2.2 ms" in before and "1.5 ms" not in before
    assert "1.5 ms" in after and "2.2 ms" not in after
    assert "exceeds 1pt by 0.66 pt" in before and "exceeds 1pt by 0.30 pt" in after
    assert after.count("skipped") == 1


def test_the_page_has_a_table_for_each(both: Results, results: Results) -> None:
    page = render_page(both)
    before, after = page.split('<h2 id="in-openvino">The same files in openvino</h2>')
    assert "a file on disk that ran in onnxruntime (" in before
    assert "1.5 ms" in after.partition("</table>")[0]
    assert "by 0.30 pt" in after.partition("</table>")[0]
    assert "The same files in" not in render_page(results)


def test_what_json_holds_comes_back(both: Results) -> None:
    assert Results.model_validate_json(both.model_dump_json()) == both
