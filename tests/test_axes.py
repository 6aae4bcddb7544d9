"""Names of dynamic dimensions: from text, tuples and torch, and the sizes they allow."""

from __future__ import annotations

import pytest

from lissom.axes import Axis


def test_a_name_is_any_size_from_two_on() -> None:
    axis = Axis.of("batch")
    assert axis == "batch"
    assert (axis.within(1), axis.within(500)) == (2, 500)
    assert repr({0: axis}) == "{0: 'batch'}"


def test_a_range_holds_sizes_in_and_is_told_in_a_digest() -> None:
    axis = Axis.of(("length", 4, 16))
    assert [axis.within(size) for size in (1, 8, 40)] == [4, 8, 16]
    assert repr(axis) == "'length'[4, 16]"


def test_dimensions_of_torch() -> None:
    torch = pytest.importorskip("torch")
    axis = Axis.of(torch.export.Dim("length", min=4, max=16))
    assert (axis, axis.least, axis.most) == ("length", 4, 16)
    assert Axis.of(torch.export.Dim("open")).most is None


@pytest.mark.parametrize(
    "label", [("length", 4), ("length", 9, 4), ("length", 1, 1), ("length", 2.0, "many")]
)
def test_what_is_no_range(label: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="length"):
        Axis.of(label)
