"""Peak memory grows with the weights and does not count the runtime itself."""

import sys

import numpy as np
import pytest

from lissom.measurement.memory import peak_memory
from tests.measurement.stacks import stack


@pytest.mark.skipif(sys.platform != "linux", reason="exact peaks are Linux's")
def test_peak_memory_follows_the_weights(tmp_path):
    small, large = stack(tmp_path / "s.onnx", 1, 64), stack(tmp_path / "l.onnx", 5, 2048)
    weights = 5 * 2048 * 2048 * 4
    low = peak_memory(small, {"x": np.ones((1, 64), np.float32)})
    high = peak_memory(large, {"x": np.ones((1, 2048), np.float32)})
    assert 0 <= low < 8e6
    # At least the weights; while loading the file's bytes and repacked copies stand beside them.
    assert weights <= high <= 4.5 * weights
