"""The pages as a browser shows them: narrow and wide, light and dark, by keyboard, on paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lissom.measurement.layer_bytes import LayerBytes
from lissom.report.compare import compare
from lissom.report.compare_page import render_comparison
from lissom.report.page import render_page
from lissom.report.results import Results, Skipped
from lissom.report.stored import Stored
from tests.report.chromium import found_in, needs_chromium, printed
from tests.report.invented import fidelity, row, speed

pytestmark = needs_chromium

WIDTHS = (360, 768, 1280)
EVIL = (
    '</script><script>parent.fired = 1</script>"\'><img src=x onerror="parent.fired = 1">'
    "<svg onload=parent.fired=1>{{ 7*7 }}"
)
LONG = "a_name_that_never_ends_and_has_no_place_to_break_" * 6
TURNED = "\u202eرقم ١ مُحوَّل עברית\u2066"
FOUND: dict[str, Any] = {}


@pytest.fixture
def hostile(results: Results) -> Results:
    names = (EVIL, LONG, TURNED)
    rows = tuple(
        one.model_copy(update={"name": name, "steps": (name,), "flags": (name,), "misses": (name,)})
        for one, name in zip(results.rows, names, strict=False)
    )
    return results.model_copy(
        update={
            "model": LONG + TURNED,
            "task": EVIL,
            "sentence": f"{LONG} became {TURNED} smaller {EVIL}",
            "rows": (*rows, *results.rows[3:]),
            "skipped": tuple(Skipped(name=name, why=name) for name in names),
            "notes": names,
            "snippet": LONG + EVIL,
            "layers": tuple(LayerBytes(name=n, original=9, compressed=3) for n in names),
        }
    )


@pytest.fixture
def found(
    results: Results,
    recipe: Results,
    hostile: Results,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the probe finds in every page at every width, by one start of the browser."""
    if not FOUND:
        slow = row("emulated", 9_000_000, speed(6.4, 80, 0.07, 0.09, "slower"), fidelity(0.99, 0.0))
        searched = results.model_copy(update={"rows": (*results.rows, slow)})
        other = hostile.model_copy(
            update={"machine": results.machine.model_copy(update={"cpu": EVIL})}
        )
        beside = compare(
            Stored(Path(f"runs/{LONG}/out"), results, None), Stored(Path(EVIL), other, None)
        )
        sources = {
            "search": render_page(searched),
            "recipe": render_page(recipe),
            "hostile": render_page(hostile),
            "compare": render_comparison(beside),
        }
        pages = {
            f"{name}-{width}": (source, width)
            for name, source in sources.items()
            for width in WIDTHS
        }
        probe = (Path(__file__).parent / "probe.js").read_text(encoding="utf-8")
        FOUND.update(found_in(pages, probe, tmp_path_factory.mktemp("chromium")))
    return FOUND


def test_nothing_spills_out_of_the_window(found: dict[str, Any]) -> None:
    assert len(found) == 4 * len(WIDTHS)
    told = {name: (page["spill"], page["outside"]) for name, page in found.items()}
    assert told == dict.fromkeys(found, (0, []))


def test_text_is_readable_in_light_and_dark(found: dict[str, Any]) -> None:
    for name, page in found.items():
        assert {page["before"]["dark"], page["after"]["dark"]} == {"true", "false"}, name
        assert page["before"]["ground"] != page["after"]["ground"], name
        for theme in ("before", "after"):
            worst = page[theme]["contrast"]
            assert worst["ratio"] >= 4.5, (name, theme, worst)


def test_names_cannot_run_scripts_and_nothing_is_fetched(found: dict[str, Any]) -> None:
    assert {page["fired"] for page in found.values()} == {0}
    assert {page["fetched"] for page in found.values()} == {0}


@pytest.mark.parametrize("width", WIDTHS)
def test_every_mark_tells_its_row_when_it_is_focused(found: dict[str, Any], width: int) -> None:
    page = found[f"search-{width}"]
    assert sorted(page["marks"], key=int) == [str(number) for number in range(9)]
    for number, tip in zip(page["marks"], page["tips"], strict=True):
        assert tip["shown"] and tip["focused"] and tip["lit"] and tip["inside"], (number, tip)
    told = dict(zip(page["marks"], page["tips"], strict=True))
    assert told["1"]["text"].startswith("dynamic int8 per channel")
    assert "80.0 ms" in told["8"]["text"]
    assert page["escaped"]


def test_other_axes_can_be_chosen(found: dict[str, Any]) -> None:
    for width in WIDTHS:
        shown = found[f"search-{width}"]["plots"]
        assert shown == [["plot plot-0"], ["plot plot-1"], ["plot plot-2"]]


def test_all_that_acts_or_scrolls_is_reached_by_the_keyboard(found: dict[str, Any]) -> None:
    assert {name: page["unreached"] for name, page in found.items()} == dict.fromkeys(found, 0)


def test_the_page_prints_on_a_few_sheets_of_paper(results: Results, tmp_path: Path) -> None:
    pdf = printed(render_page(results), tmp_path)
    count = max(map(int, re.findall(rb"/Count (\d+)", pdf)), default=0)
    assert 1 <= count <= 6
