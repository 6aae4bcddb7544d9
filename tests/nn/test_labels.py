from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lissom.nn.labels import Classes, reshaped


def test_what_is_united_shares_a_reason() -> None:
    classes = Classes()
    a, b = classes.fresh(3, "a", 0), classes.fresh(3, "b", 1)
    classes.unite(a, b)
    classes.hold(b[1:2], "because")
    assert [classes.reason(member) for member in a.tolist()] == [None, "because", None]
    assert classes.places()[classes.find(int(b[2]))] == [("a", 0, 2), ("b", 1, 2)]


@given(st.permutations([2, 3, 4]), st.integers(0, 2), st.integers(0, 2))
def test_merged_axes_repeat_the_labelled_one_as_numpy_does(
    sizes: list[int], labelled: int, start: int
) -> None:
    label = np.arange(sizes[labelled])
    places = np.broadcast_to(
        label.reshape([-1 if axis == labelled else 1 for axis in range(3)]), sizes
    )
    after = [*sizes[:start], int(np.prod(sizes[start:]))]
    result, lost = reshaped(
        [label if axis == labelled else None for axis in range(3)], sizes, after
    )
    if start <= labelled:
        expected = places.reshape(after)[(0,) * start]
        assert result[-1] is not None and result[-1].tolist() == expected.tolist()
    else:
        assert result[labelled] is not None and result[labelled].tolist() == label.tolist()
    assert lost == []


@pytest.mark.parametrize(
    ("before", "after", "axis"), [((2, 12), (2, 3, 4), 1), ((2, 7, 12), (14, 3, 4), 2)]
)
def test_a_labelled_axis_that_is_split_is_lost(
    before: tuple[int, ...], after: tuple[int, ...], axis: int
) -> None:
    labels = [np.arange(before[axis]) if place == axis else None for place in range(len(before))]
    result, lost = reshaped(labels, before, after)
    assert result == [None] * len(after)
    assert len(lost) == 1


def test_axes_of_one_come_and_go() -> None:
    label = np.arange(6)
    result, lost = reshaped([None, label, None, None], (2, 6, 1, 1), (2, 6))
    assert result[1] is not None and result[1].tolist() == label.tolist()
    assert lost == []
    assert reshaped(result, (2, 6), (2, 1, 6))[0][2] is not None
