"""Times of kernels: they sum to that of a run, and the clock's own cost is taken from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lissom.errors import ModelError
from lissom.measurement import kernel_clock
from lissom.measurement.kernel_clock import Timed, spread, time_kernels, without_clock
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
    one, other = time_kernels([small, small], feeds, seconds=0.5, openings=3)
    assert [kernel.op_type for kernel in one.kernels] == ["MatMul", "Relu"]
    assert one.milliseconds.shape == (len(one.whole), 2)
    assert len(one.whole) == len(other.whole) >= 3
    assert one.milliseconds.sum(axis=1) == pytest.approx(one.whole)
    assert "w0" in one.constants
    (three,) = time_kernels([large], {"x": np.ones((8, 256), np.float32)}, seconds=0.1, openings=2)
    products = [at for at, kernel in enumerate(three.kernels) if kernel.op_type == "MatMul"]
    assert len(products) == 3
    # Sixteen times the work of the small one, each.
    assert three.milliseconds[:, products].min() > one.milliseconds[:, 0].min()


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


def test_slow_files_are_run_a_few_times_only(tmp_path: Path) -> None:
    path = stack(tmp_path / "stack.onnx", 1, 64)
    # Next to so little time any file is slow.
    (timed,) = time_kernels([path], {"x": np.ones((8, 64), np.float32)}, seconds=1e-6)
    assert timed.whole.shape == (2,)
    assert timed.milliseconds.sum(axis=1) == pytest.approx(timed.whole)


def test_large_files_are_not_all_open_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [stack(tmp_path / f"{at}.onnx", 1, 64) for at in range(3)]
    together: list[int] = []
    runs = kernel_clock._runs

    def counted(files, *arguments):
        together.append(len(files))
        return runs(files, *arguments)

    monkeypatch.setattr(kernel_clock, "_runs", counted)
    feeds = {"x": np.ones((8, 64), np.float32)}
    size = paths[0].stat().st_size
    for most, expected in ((10 * size, [3]), (2 * size, [2, 1]), (0, [1, 1, 1])):
        monkeypatch.setattr(kernel_clock, "MOST_OPEN", most)
        together.clear()
        timed = time_kernels(paths, feeds, seconds=1e-6, openings=1)
        assert together == expected
        assert all(each.milliseconds.sum() > 0 for each in timed)


def test_openings_that_disagree_are_told() -> None:
    def timed(*whole: float) -> Timed:
        return Timed((), frozenset(), np.zeros((len(whole), 0)), np.array(whole))

    assert spread([timed(2.0, 3.0, 2.02), timed(1.0, 1.0)]) == pytest.approx(0.01)
    assert spread([timed(2.0, 3.0, 2.5), timed(1.0, 1.0)]) == pytest.approx(0.25)
    assert spread([timed(2.0)]) == 0.0
