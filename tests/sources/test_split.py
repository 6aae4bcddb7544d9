from __future__ import annotations

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.model import TensorSpec
from lissom.sources.split import fixed_batch, hold_out, whole_batches


@pytest.mark.parametrize(("samples", "chosen"), [(10_000, 128), (512, 128), (100, 25), (4, 1)])
def test_calibration_and_validation_share_nothing_and_leave_nothing(samples, chosen):
    calibration, validation = hold_out(samples)
    assert len(calibration) == chosen
    np.testing.assert_array_equal(
        np.sort(np.concatenate([calibration, validation])), np.arange(samples)
    )
    np.testing.assert_array_equal(hold_out(samples)[0], calibration)
    assert (np.diff(calibration) > 0).all()


def test_calibration_is_drawn_from_everywhere():
    calibration, _ = hold_out(10_000)
    assert calibration.min() < 500
    assert calibration.max() > 9_500


def test_too_few_samples_are_not_used_twice():
    with pytest.raises(TaskError, match="3 samples are too few"):
        hold_out(3)


def test_a_fixed_batch_is_one_that_all_inputs_have():
    free, fixed = TensorSpec("a", "float32", ("n", 2)), TensorSpec("b", "float32", (4, 2))
    scalar = TensorSpec("c", "float32", ())
    assert fixed_batch(None) is None
    assert fixed_batch([free, fixed]) is None
    assert fixed_batch([fixed, scalar]) == 4


def test_only_full_batches_of_a_fixed_size_are_kept():
    np.testing.assert_array_equal(whole_batches(np.arange(7), 3), np.arange(6))
    np.testing.assert_array_equal(whole_batches(np.arange(7), None), np.arange(7))
    with pytest.raises(TaskError, match="exactly 8, and there are 7"):
        whole_batches(np.arange(7), 8)
