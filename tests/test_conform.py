from __future__ import annotations

import numpy as np
import pytest

from lissom.conform import conform, signature
from lissom.errors import TaskError
from lissom.model import TensorSpec

PIXELS = TensorSpec("pixels", "float32", ("batch", 3, 8, 8))
IDS = TensorSpec("ids", "int64", ("batch", "length"))
MASK = TensorSpec("mask", "int64", ("batch", "length"))
GOOD = np.zeros((2, 3, 8, 8), np.float32)


def refusal(batch, *specs):
    with pytest.raises(TaskError) as error:
        conform(batch, specs, "validation, batch 3")
    assert error.value.where.startswith("validation, batch 3")
    return str(error.value)


def test_what_fits_passes():
    conform({"pixels": GOOD}, [PIXELS], "here")
    conform(
        {"t": np.float32(2) * np.ones((), np.float32), "s": np.array(["a"])},
        [TensorSpec("t", "float32", ()), TensorSpec("s", "object", (None,))],
        "here",
    )


def test_a_name_that_is_nearly_right_is_offered():
    text = refusal({"pixel": GOOD}, PIXELS)
    assert "'pixel' is not an input of the model" in text
    assert "did you mean 'pixels'? the model takes: pixels (float32, batch x 3 x 8 x 8)" in text


def test_a_wrong_name_of_the_only_input_is_to_be_changed_not_left_out():
    assert "fix: rename it to 'pixels'; the model takes" in refusal({"x": GOOD}, PIXELS)
    ids = TensorSpec("ids", "int64", ("batch", "length"))
    assert "fix: rename it to 'pixels'" in refusal(
        {"x": GOOD, "tokens": GOOD[:, 0, 0]}, PIXELS, ids
    )
    assert "fix: leave it out" in refusal({"pixels": GOOD, "x": GOOD}, PIXELS)


def test_labels_among_the_inputs_are_recognised():
    assert "validation=(inputs, labels)" in refusal({"pixels": GOOD, "labels": GOOD}, PIXELS)


def test_a_missing_input_is_named():
    ids = np.zeros((2, 4), np.int64)
    assert "lack the model's input 'mask'" in refusal({"ids": ids}, IDS, MASK)


@pytest.mark.parametrize(
    ("dtype", "fix"),
    [("float64", "pixels.astype(np.float32)"), ("uint8", "pixels.astype(np.float32)")],
)
def test_a_wrong_dtype_says_which_cast(dtype, fix):
    text = refusal({"pixels": GOOD.astype(dtype)}, PIXELS)
    assert f"'pixels' is {dtype}, and the model takes float32" in text
    assert fix in text


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((3, 8, 8), "it lacks the batch axis: np.expand_dims(pixels, 0)"),
        ((2, 8, 8, 3), "put the channels first: np.moveaxis(pixels, -1, 1)"),
        ((2, 1, 3, 8, 8), "pixels.squeeze(1)"),
        ((2, 3, 9, 9), "reshape, crop or pad"),
    ],
)
def test_a_wrong_shape_says_the_smallest_change(shape, fix):
    text = refusal({"pixels": np.zeros(shape, np.float32)}, PIXELS)
    assert f"'pixels' has shape {shape}" in text
    assert fix in text


def test_a_fixed_batch_says_batch_size():
    fixed = TensorSpec("pixels", "float32", (1, 3, 8, 8))
    assert "batch_size=1" in refusal({"pixels": GOOD}, fixed)


def test_dimensions_of_one_name_must_be_equal():
    text = refusal(
        {"ids": np.zeros((2, 7), np.int64), "mask": np.zeros((2, 8), np.int64)}, IDS, MASK
    )
    assert "'length' is 7 in 'ids' and 8 in 'mask'" in text


@pytest.mark.parametrize(("bad", "kind"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_numbers_must_be_finite(bad, kind):
    values = GOOD.copy()
    values[1, 2, 3, 4:6] = bad
    assert f"'pixels' contains {kind} (2 of 384" in refusal({"pixels": values}, PIXELS)
    assert "validation, batch 3, row 1" in refusal({"pixels": values}, PIXELS)


def test_signature_of_unknown_sizes_and_scalars():
    assert signature(TensorSpec("x", "int64", (None, 3))) == "x (int64, ? x 3)"
    assert signature(TensorSpec("x", "int64", ())) == "x (int64, a single number)"
