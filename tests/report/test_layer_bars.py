"""Bytes by layer on the page: nothing is left out."""

from __future__ import annotations

from lissom.measurement.layer_bytes import LayerBytes
from lissom.report.layer_bars import MOST, layer_bars
from lissom.report.page import render_page
from lissom.report.results import Results


def layer(name: str, original: int, compressed: int) -> LayerBytes:
    return LayerBytes(name=name, original=original, compressed=compressed)


def test_the_largest_are_first_and_the_others_together() -> None:
    layers = [layer(f"block.{i}", 1_000 * (i + 1), 250 * (i + 1)) for i in range(MOST + 5)]
    told = layer_bars(layers)
    assert len(told) == MOST + 1
    assert "".join(told[0].pieces) == f"block.{MOST + 4}"
    assert told[0].pieces == ("block.", f"{MOST + 4}")
    assert (told[0].before, told[0].after, told[0].change) == ("25.0 kB", "6.2 kB", "4.0x smaller")
    assert (told[0].before_share, told[0].after_share) == (100.0, 25.0)
    # 1 + 2 + 3 + 4 + 5 kB.
    assert "".join(told[-1].pieces) == "5 smaller ones together"
    assert told[-1].before == "15.0 kB"


def test_layers_that_came_and_went() -> None:
    gone, new = layer_bars([layer("norm", 256, 0), layer("added", 0, 128)])
    assert (gone.change, gone.after) == ("gone", "")
    assert (new.change, new.before, new.after_share) == ("new", "", 50.0)
    assert layer_bars([]) == ()


def test_one_more_than_fits_is_shown_as_itself() -> None:
    told = layer_bars([layer(f"l{i}", 10, 5) for i in range(MOST + 1)])
    assert len(told) == MOST + 1
    assert not any("together" in "".join(bar.pieces) for bar in told)


def test_the_page_has_them_where_they_are_known(results: Results) -> None:
    assert "Where the bytes are" not in render_page(results)
    known = results.model_copy(update={"layers": (layer("encoder.0", 2_000_000, 500_000),)})
    page = render_page(known)
    assert "Where the bytes are" in page
    assert "encoder.<wbr>0<wbr>" in page
    assert "4.0x smaller" in page
