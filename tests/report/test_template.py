"""What is put into a page cannot steer the text around it."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from lissom.report.page import render_page
from lissom.report.results import Results
from lissom.report.template import visible


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain ألف 模型", "plain ألف 模型"),
        ("gnp.\u202eexe", "gnp.[U+202E]exe"),
        ("a\x00b\x1bc", "a[U+0000]b[U+001B]c"),
        ("half \udcff", "half [U+DCFF]"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ],
)
def test_steering_characters_are_spelt_out(name: str, shown: str) -> None:
    assert visible(name) == shown
    assert type(visible(Markup(name))) is Markup
    assert visible(3) == 3


def test_a_page_can_always_be_encoded(results: Results) -> None:
    odd = results.model_copy(update={"model": "\udcff\u202e\x00", "notes": ("\ud800",)})
    page = render_page(odd).encode("utf-8").decode("utf-8")
    assert "[U+DCFF][U+202E][U+0000]" in page
    assert "\u202e" not in page
