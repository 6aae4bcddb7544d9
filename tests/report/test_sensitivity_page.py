"""The page of sensitivities: its numbers and colours, and hostile names."""

from __future__ import annotations

import re

from lissom.report.sensitivity_page import DEEPEST, render_sensitivity
from lissom.tables import LayerSensitivity
from tests.report.test_diagnosis_page import EVIL, TURNED
from tests.report.test_sensitivity_text import layer, table


def depths(page: str) -> list[float]:
    """How strong the colours of the rows' cells are, in their order."""
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    return [float(found) for found in re.findall(r"--depth:([\d.]+)%", body)]


def test_rows_stand_in_the_order_of_the_network_with_their_numbers() -> None:
    page = render_sensitivity(table(), "net.onnx")
    assert "<title>net.onnx: lissom sensitivity</title>" in page
    assert page.index("conv_<wbr>first") < page.index("conv_<wbr>0") < page.index("net.<wbr>last")
    assert "<bdi>Most sensitive: net.last, conv_0 and conv_first.</bdi>" in page
    assert "errors do not add up in w4a8" in page
    assert page.count('<td data-label="w8a8" class="none">-</td>') == 1
    assert "4.0 kB" in page and "64 calibration samples" in page


def test_colours_grow_with_the_error_and_end_where_numbers_can_be_read() -> None:
    errors = (1e-9, 1e-6, 1e-4, 1e-2, 1e-1, 10.0, float("inf"))
    layers = tuple(layer(f"a{at}", error) for at, error in enumerate(errors))
    found = depths(render_sensitivity(table().model_copy(update={"layers": layers}), "m"))
    assert found == sorted(found)
    assert found[:2] == [0.0, 0.0] and found[-3:] == [DEEPEST] * 3
    assert 0 < found[2] < found[3] < DEEPEST


def test_hostile_names_stay_text() -> None:
    evil = LayerSensitivity(
        name=EVIL, module=TURNED, op_type="Conv", weights=1, errors={"w8a8": 0.1}
    )
    found = table().model_copy(
        update={"layers": (evil, *table().layers), "lost": {"w8a8": (EVIL,)}}
    )
    page = render_sensitivity(found, EVIL)
    assert "<img src=x" not in page and "<svg onload" not in page and "\u202e" not in page
    assert "{{ 7*7 }}" in page
