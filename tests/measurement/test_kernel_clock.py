"""Times of kernels: they sum to that of a run, and the clock's own cost is taken from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lissom.errors import ModelError
from lissom.measurement.kernel_clock import time_kernels, without_clock
from tests.measurement.stacks import stack


def slowly(kernels: np.ndarray, whole: float) -> np.ndarray:
    """Take a little from every kernel that has something until what is left fits."""
    left = kernels.copy()
    while left.sum() > whole:
        left = np.maximum(0.0, left - 1e-4)
    return left


@pytest.mark.parametrize("whole", [0.5, 9.0, 20.0, 24.9])
def test_the_clock_costs_the_same_at_every_kernel(whole: float) -> None:
    kernels = np.array([1.0, 2.0, 2.0, 20.0, 0.0])
    found = without_clock(kernels, whole)
    assert found.sum() == pytest.approx(whole)
    assert found == pytest.approx(slowly(kernels, whole), abs=1e-3)


def test_what_a_run_takes_beyond_its_kernels_goes_to_them_in_proportion() -> None:
    assert without_clock(np.array([1.0, 3.0]), 8.0) == pytest.approx([2.0, 6.0])
    assert without_clock(np.zeros(2), 8.0) == pytest.approx([0.0, 0.0])


def test_kernels_of_two_files_in_turns(tmp_path: Path) -> None:
    small, large = stack(tmp_path / "small.onnx", 1, 64), stack(tmp_path / "large.onnx", 3, 256)
    feeds = {"x": np.ones((8, 64), np.float32)}
    one, other = time_kernels([small, small], feeds, seconds=0.1, openings=3)
    assert [kernel.op_type for kernel in one.kernels] == ["MatMul", "Relu"]
    assert one.milliseconds.shape == (3, 2)
    assert one.milliseconds.sum(axis=1) == pytest.approx(one.whole)
    assert "w0" in one.constants
    (three,) = time_kernels([large], {"x": np.ones((8, 256), np.float32)}, seconds=0.1, openings=2)
    products = [at for at, kernel in enumerate(three.kernels) if kernel.op_type == "MatMul"]
    assert len(products) == 3
    # Sixteen times the work of the small one, each.
    assert three.milliseconds[:, products].min() > one.milliseconds[:, 0].min()
    assert other.whole.shape == (3,)


def test_kernels_without_names_and_with_one_name_are_told_apart(tmp_path: Path) -> None:
    path = stack(tmp_path / "stack.onnx", 3, 64)
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = "same" if node.op_type == "MatMul" else ""
    onnx.save(model, path)
    (timed,) = time_kernels([path], {"x": np.ones((64, 64), np.float32)}, seconds=0.1, openings=2)
    assert len({kernel.name for kernel in timed.kernels}) == 6
    products = [at for at, kernel in enumerate(timed.kernels) if kernel.op_type == "MatMul"]
    assert timed.milliseconds[:, products].min() > 0


def test_inputs_that_do_not_fit_are_told(tmp_path: Path) -> None:
    path = stack(tmp_path / "stack.onnx", 1, 64)
    with pytest.raises(ModelError, match="cannot run the model"):
        time_kernels([path], {"x": np.ones((8, 32), np.float32)}, seconds=0.1, openings=1)
