"""What counts as a difference between torch and the exported file."""

from __future__ import annotations

import numpy as np
import pytest

from lissom.errors import ModelError
from lissom.nn.parity import difference


def test_differences_are_absolute_and_relative_to_the_largest_value() -> None:
    expected = np.array([[1.0, -8.0], [2.0, 0.0]], np.float32)
    actual = expected + np.array([[0.0, 0.0], [0.5, 0.25]], np.float32)
    found = difference(expected, actual)
    assert found.absolute == 0.5
    assert found.relative == 0.5 / 8


def test_infinities_that_agree_are_no_difference_and_others_are() -> None:
    masked = np.array([1.0, -np.inf])
    assert difference(masked, masked).absolute == 0.0
    assert difference(masked, np.array([1.0, 5.0])).relative == np.inf


def test_whole_numbers_are_counted() -> None:
    found = difference(np.array([1, 2, 3, 400]), np.array([1, 2, 3, 4]))
    assert (found.absolute, found.relative) == (0.25, 0.25)


def test_nan_and_shapes_are_refused() -> None:
    with pytest.raises(ModelError, match="torch module gives NaN"):
        difference(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ModelError, match="exported model gives NaN"):
        difference(np.array([1.0]), np.array([np.nan]))
    with pytest.raises(ModelError, match=r"shape \(2,\) where torch gives \(1,\)"):
        difference(np.array([1.0]), np.array([1.0, 2.0]))
