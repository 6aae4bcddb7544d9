"""The diagnosis as a page: its numbers, its drawings, and what a browser makes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lissom.report.diagnosis import Channels, Diagnosis, Grid, Parts, Verdict
from lissom.report.diagnosis_page import render_diagnosis
from lissom.report.error_chart import REACHED, error_chart
from lissom.report.range_drawings import channel_drawing, range_drawing
from tests.report.chromium import found_in, needs_chromium, printed
from tests.report.invented_diagnosis import diagnosis, layer

WIDTHS = (360, 400, 1280)
EVIL = (
    '</script><script>parent.fired = 1</script>"\'><img src=x onerror="parent.fired = 1">'
    "<svg onload=parent.fired=1>{{ 7*7 }}"
)
LONG = "a_name_that_never_ends/" * 8 + "x" * 120
TURNED = "\u202eرقم ١ مُحوَّل\u2066"
FOUND: dict[str, Any] = {}


def hostile() -> Diagnosis:
    names = (EVIL, LONG, TURNED)
    verdicts = tuple(
        Verdict(
            layer=name, cause="weights", share=0.3, words=f"{name}: bad", remedy=name,
            technique="quantize.static", config={"keep_float": [name]}, gain=0.3,
        )
        for name in names
    )  # fmt: skip
    return diagnosis().model_copy(
        update={
            "original": EVIL,
            "compressed": LONG + TURNED,
            "inputs": EVIL,
            "made_up": True,
            "quality": TURNED,
            "layers": tuple(layer(7 * at, name=name) for at, name in enumerate(names, 1)),
            "unmatched": tuple((name, name) for name in names),
            "verdicts": verdicts,
        }
    )


def test_the_page_says_what_was_found() -> None:
    page = render_diagnosis(diagnosis())
    assert '<p class="verdict"><bdi>blocks.1.conv1: 41% of' in page
    assert "-21.3 dB, 0.74 % of the signal&#39;s power" in page
    assert "is expected to take away 37 % of the output&#39;s error" in page
    assert (
        "{&#34;match&#34;: &#34;blocks.1.conv1&#34;, &#34;observer&#34;: &#34;minmax&#34;}" in page
    )
    assert 'href="#layer-7"' in page and 'id="layer-7"' in page
    assert "1.3 % of the values lie outside and are cut off" in page
    assert "3 of 96 output channels of the weight hold the range, the widest 38x" in page
    assert "Made-up inputs" not in page
    assert "Made-up inputs" in render_diagnosis(hostile())


def test_bars_are_shares_divided_by_cause() -> None:
    page = render_diagnosis(diagnosis())
    row = re.compile(r'id="layer-(\d+)".*?<td class="bar"[^>]*>(.*?)</td>', re.DOTALL)
    part = re.compile(r'<i class="(\w+)" style="width:([\d.]+)%')
    bars = {
        int(number): {cause: float(width) for cause, width in part.findall(bar)}
        for number, bar in row.findall(page)
    }
    assert len(bars) == 60
    assert sum(bars[7].values()) == pytest.approx(100, abs=0.2)
    assert sum(bars[19].values()) == pytest.approx(100 * 0.23 / 0.41, abs=0.2)
    assert bars[7]["clipping"] == pytest.approx(90, abs=0.5)
    assert max(bars[30], key=lambda cause: bars[30][cause]) == "saturation"


def test_the_one_verdict_of_a_healthy_network_is_said_once() -> None:
    fine = Verdict(layer=None, cause="healthy", share=None, words="healthy: no layer has a fault")
    page = render_diagnosis(diagnosis().model_copy(update={"verdicts": (fine,)}))
    assert page.count("healthy: no layer has a fault") == 1
    silent = render_diagnosis(diagnosis().model_copy(update={"verdicts": (), "layers": ()}))
    assert "Nothing was found" in silent and "No layer could be compared" in silent


def test_the_error_stands_in_decibels() -> None:
    found = diagnosis()
    for wide in (True, False):
        chart = error_chart(found.layers, wide=wide)
        assert chart is not None
        scale = {float(tick.label): tick.at for tick in chart.y_ticks}
        healthy = chart.marks[0]
        assert healthy.added == pytest.approx(scale[-40.0])
        assert healthy.accumulated == pytest.approx(scale[-40.0])
        assert chart.marks[6].added < healthy.added, "more is higher"
        assert [mark.number for mark in chart.marks if mark.named] == [7, 19, 30]
        assert sum(mark.reached for mark in chart.marks) == REACHED
        assert all(chart.left < mark.x < chart.right for mark in chart.marks)
    exact = layer(1).model_copy(update={"added": 0.0, "accumulated": 0.0})
    assert error_chart([exact], wide=True) is None
    broken = layer(1).model_copy(update={"added": float("nan"), "accumulated": float("inf")})
    assert error_chart([broken, layer(2)], wide=True) is not None


def test_one_layer_has_a_chart_too() -> None:
    chart = error_chart([layer(1)], wide=True)
    assert chart is not None and [tick.label for tick in chart.x_ticks] == ["1"]


def grid(**changes: Any) -> Grid:
    known = {
        "low": -4.0,
        "high": 4.0,
        "counts": (1, 10, 100, 10),
        "clip_low": -2.0,
        "clip_high": 2.0,
    }
    return Grid(**{**known, **changes})


def test_bins_outside_of_the_range_are_told_apart() -> None:
    drawing = range_drawing(grid())
    assert drawing is not None
    assert drawing.inside.count("M") == 2 and drawing.outside.count("M") == 2
    assert drawing.start == pytest.approx(26, abs=0.1)
    assert drawing.end == pytest.approx(74, abs=0.1)
    assert drawing.zero == pytest.approx(50)
    heights = [60 - float(y) for y in re.findall(r"V([\d.]+)H", drawing.inside + drawing.outside)]
    assert heights == pytest.approx([30, 54, 6, 30])  # logarithmic: 10, 100, 1, 10


@pytest.mark.parametrize(
    "odd",
    [grid(low=float("nan")), grid(clip_high=float("inf")), grid(counts=()),
     grid(low=0.0, high=0.0, clip_low=0.0, clip_high=0.0)],
)  # fmt: skip
def test_what_cannot_be_drawn_is_left_out(odd: Grid) -> None:
    assert range_drawing(odd) is None
    found = diagnosis()
    changed = found.layers[6].model_copy(update={"grid": odd})
    assert render_diagnosis(found.model_copy(update={"layers": (changed,)}))


def test_a_range_much_wider_than_what_was_seen_is_said() -> None:
    wide = diagnosis().layers[0].model_copy(update={"grid": grid(clip_low=-16.0, clip_high=16.0)})
    page = render_diagnosis(diagnosis().model_copy(update={"layers": (wide,)}))
    assert "the range is 4.0 times as wide as what was seen" in page


def test_channels_stand_at_their_place() -> None:
    drawing = channel_drawing(Channels(axis="input", count=200, worst=(50, 3, 999), spread=40))
    assert drawing.places == pytest.approx((1.5, 25.0))
    assert drawing.width == 0.5


def test_a_part_larger_than_the_whole_does_not_lengthen_the_bar() -> None:
    both = layer(7).model_copy(update={"parts": Parts(weights=1.0, rounding=1.0)})
    page = render_diagnosis(diagnosis().model_copy(update={"layers": (both,)}))
    widths = [float(w) for w in re.findall(r'<i class="\w+" style="width:([\d.]+)%', page)]
    assert widths == [50.0, 50.0]


@pytest.fixture
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the probe finds at every width, by one start of the browser."""
    if not FOUND:
        sources = {"plain": render_diagnosis(diagnosis()), "hostile": render_diagnosis(hostile())}
        pages = {
            f"{name}-{width}": (source, width)
            for name, source in sources.items()
            for width in WIDTHS
        }
        probe = (Path(__file__).parent / "probe.js").read_text(encoding="utf-8")
        FOUND.update(found_in(pages, probe, tmp_path_factory.mktemp("chromium")))
    return FOUND


@needs_chromium
def test_nothing_spills_is_unreadable_runs_or_is_fetched(found: dict[str, Any]) -> None:
    assert len(found) == 2 * len(WIDTHS)
    for name, page in found.items():
        assert (page["spill"], page["outside"]) == (0, []), name
        assert (page["fired"], page["fetched"], page["unreached"]) == (0, 0, 0), name
        assert page["before"]["ground"] != page["after"]["ground"], name
        for theme in ("before", "after"):
            assert page[theme]["contrast"]["ratio"] >= 4.5, (name, theme, page[theme]["contrast"])


@needs_chromium
def test_layers_tell_their_numbers_when_focused(found: dict[str, Any]) -> None:
    for width in WIDTHS:
        page = found[f"plain-{width}"]
        assert len(page["marks"]) == REACHED
        assert all(
            tip["shown"] and tip["focused"] and tip["lit"] and tip["inside"] for tip in page["tips"]
        )
        told = dict(zip(page["marks"], page["tips"], strict=True))["7"]["text"]
        assert told.startswith(
            "7 blocks.1.conv1 (Conv)\n41 % of the output's error\nadded -22.2 dB"
        )
        assert page["escaped"]


@needs_chromium
def test_it_prints_on_a_few_sheets(tmp_path: Path) -> None:
    pdf = printed(render_diagnosis(diagnosis()), tmp_path)
    assert 1 <= max(map(int, re.findall(rb"/Count (\d+)", pdf)), default=0) <= 6
