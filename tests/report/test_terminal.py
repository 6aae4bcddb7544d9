"""The terminal table: every number there, nothing wider than the terminal."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from lissom.report.results import Results
from lissom.report.terminal import as_text, table


def printed(results: Results, width: int, *, color: bool = False) -> str:
    out = io.StringIO()
    Console(
        file=out, width=width, force_terminal=color, color_system="standard" if color else None
    ).print(table(results))
    return out.getvalue()


@pytest.mark.parametrize("width", [48, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_all_is_told(results: Results, width: int) -> None:
    shown = printed(results, width)
    assert max(cell_len(line) for line in shown.splitlines()) <= width
    flowing = " ".join(shown.split())
    for number in (
        "90.8 MB", "23.2 MB", "3.9x", "2.2 ms", "2.9x", "[2.85, 2.98]", "0.991", "0.90 pt",
        "[0.78, 1.02]", "64.1 MB", "0.90x", "[37.70, 39.90]", "0.99996",
    ):  # fmt: skip
        assert number in flowing
    for words in (
        "slower than the original",
        "speed: too noisy to tell",
        "not proven: drop 0.90 pt is inside the limit 1pt, its interval (up to 1.02 pt) is not",
        "over budget: latency 7.1 ms exceeds 4ms by 3.1 ms; drop 2.88 pt exceeds 1pt by 1.88 pt",
        "Gather has no quantized kernel",
        "the outputs differ by at most 2.1e-07",
        "Invented 9000 16-Core Processor",
        "cosine fidelity to the original, no labels used",
        "budget: size 25MB, latency 4ms, drop 1pt",
    ):
        assert words in flowing


def test_wide_rows_are_one_line(results: Results) -> None:
    lines = printed(results, 120).splitlines()
    assert lines[3].split() == [
        ">*", "dynamic", "int8", "per", "channel", "23.2", "MB", "3.9x", "2.2", "ms", "2.9x",
        "[2.85,", "2.98]", "0.991", "0.90", "pt", "[0.78,", "1.02]", "64.1", "MB",
    ]  # fmt: skip


def test_the_original_stands_first_and_only_the_chosen_is_marked(results: Results) -> None:
    lines = printed(results, 120).splitlines()
    assert lines[2].split()[:3] == ["original", "90.8", "MB"]
    assert [line for line in lines[:-10] if line.startswith(">")] == [
        line for line in lines[:-10] if "dynamic int8" in line or "> chosen" in line
    ]


def test_the_chosen_row_is_highlighted_only_where_there_is_colour(results: Results) -> None:
    assert "\x1b[1;32m>* dynamic int8" in printed(results, 120, color=True)
    assert "\x1b" not in printed(results, 120)


def test_as_text_is_ascii_when_the_names_are(results: Results) -> None:
    assert as_text(results).isascii()


def test_columns_nobody_measured_are_left_out(results: Results) -> None:
    def bare(row):  # type: ignore[no-untyped-def]
        nothing = {"speed": None, "latency": None, "quality": None}
        return row.model_copy(update={"measurement": row.measurement.model_copy(update=nothing)})

    shown = printed(
        results.model_copy(
            update={
                "original": bare(results.original),
                "rows": tuple(bare(row) for row in results.rows),
            }
        ),
        80,
    )
    assert "speed-up" not in shown
    assert "drop  " not in shown.splitlines()[0]
    assert "quality: not measured" in shown
    assert "23.2 MB" in shown


def test_nothing_chosen_is_said_and_nothing_built_still_prints(results: Results) -> None:
    shown = printed(results.model_copy(update={"rows": ()}), 80)
    assert "Nothing was chosen." in shown
    assert "90.8 MB" in shown


def test_a_long_name_without_spaces_breaks_at_its_joints(results: Results) -> None:
    name = "quantize.static-percentile-99.99-per-channel-uint8+quantize.weight_only-embeddings"
    renamed = results.rows[0].model_copy(update={"name": name})
    shown = printed(results.model_copy(update={"rows": (renamed,)}), 80)
    assert max(map(len, shown.splitlines())) <= 80
    assert "quantize.static-" in shown


def test_markup_in_a_name_is_only_text(results: Results) -> None:
    renamed = results.rows[0].model_copy(update={"name": "[red]int8[/red]"})
    shown = printed(results.model_copy(update={"rows": (renamed,)}), 120)
    assert "[red]int8[/red]" in shown


@pytest.mark.parametrize("width", [48, 60, 80, 120, 200])
def test_stages_are_told_in_order_with_what_each_step_changed(recipe: Results, width: int) -> None:
    shown = printed(recipe, width)
    assert max(cell_len(line) for line in shown.splitlines()) <= width
    flowing = " ".join(shown.split())
    for number in (
        "1.1 MB", "-540.0 kB", "-0.41 ms", "-4.10 pt", "1.72x", "[1.69, 1.75]", "4.10 pt",
        "+3.80 pt", "0.30 pt", "-387.0 kB", "3.2x", "0.65 pt", "[-0.05, 1.35]",
    ):  # fmt: skip
        assert number in flowing
    starts = [flowing.index(name) for name in ("original", "1 prune.", "2 distill.", "4 quantize.")]
    assert starts == sorted(starts)
    assert "Pareto" not in flowing
    assert "objective" not in flowing
    assert "> the result" in flowing


def test_stages_are_columns_at_80(recipe: Results) -> None:
    lines = printed(recipe, 80).splitlines()
    assert lines[4].split() == ["1", "prune.", "560.0", "kB", "0.57", "ms", "1.72x", "0.871",
                                "4.10", "pt", "27.0", "MB"]  # fmt: skip
    assert lines[5].split() == ["structured", "-540.0", "kB", "-0.41", "ms", "[1.69,", "1.75]",
                                "-4.10", "pt", "[3.20,", "5.00]"]  # fmt: skip


def test_a_result_over_the_budget_is_said(recipe: Results) -> None:
    rows = tuple(row.model_copy(update={"chosen": False}) for row in recipe.rows)
    shown = printed(recipe.model_copy(update={"rows": rows}), 80)
    assert "The result is not inside the budget." in shown
    assert "Nothing was chosen" not in shown
