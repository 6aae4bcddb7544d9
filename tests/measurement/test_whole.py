"""One call measures everything, alone or against another file."""

import numpy as np
import pytest

from lissom.errors import RequestError
from lissom.measurement.records import Measurement, Settings
from lissom.measurement.whole import measure
from lissom.task import Task
from tests.measurement.stacks import stack

QUICK = Settings(batch=4, seconds=0.05, processes=1)
INPUTS = np.random.default_rng(0).normal(size=(40, 128)).astype(np.float32)


def test_a_file_against_another(tmp_path):
    short, long = stack(tmp_path / "short.onnx", 2), stack(tmp_path / "long.onnx", 12)
    found = measure(short, Task(validation=INPUTS), against=long, settings=QUICK)
    assert found.footprint.macs == found.footprint.parameters == 2 * 128 * 128
    assert found.speed is not None
    assert found.speed.verdict == "faster"
    assert found.latency == found.speed.candidate
    assert found.quality is not None
    assert found.quality.fidelity
    assert found.quality.original.value == pytest.approx(1.0)
    assert found.quality.drop.value > 0.1
    assert Measurement.model_validate_json(found.model_dump_json()) == found


def test_a_file_alone_without_a_task(tmp_path):
    found = measure(stack(tmp_path / "a.onnx", 2), settings=QUICK)
    assert found.speed is None
    assert found.quality is None
    assert found.latency is not None
    took = 4 * found.latency.runs / found.latency.throughput
    assert found.latency.runs * found.latency.p50 / 2e3 < took < 0.2


def test_files_with_different_inputs_cannot_be_compared(tmp_path, encoder_onnx):
    with pytest.raises(RequestError, match="take different inputs"):
        measure(stack(tmp_path / "a.onnx", 2), against=encoder_onnx, settings=QUICK)
