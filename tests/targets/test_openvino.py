from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lissom.errors import MissingExtra, RequestError
from lissom.targets import openvino as target
from lissom.targets import openvino_package as package
from lissom.targets.named import find_target, opener
from lissom.targets.openvino import kernels_saturate, openvino_target, reason


@pytest.fixture
def fresh():
    """Whatever is remembered of the runtime is forgotten, before and after."""
    remembered = (package.openvino_package, kernels_saturate, openvino_target)
    for each in remembered:
        each.cache_clear()
    yield
    for each in remembered:
        each.cache_clear()


def test_without_the_package_the_extra_is_named(fresh, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openvino", None)
    for ask in (lambda: find_target("openvino"), lambda: opener("openvino")(tmp_path / "a.onnx")):
        with pytest.raises(MissingExtra, match="the target openvino needs") as told:
            ask()
        assert "pip install 'lissom[openvino]'" in told.value.fix


def test_naming_it_does_not_import_it():
    script = "import lissom.targets.named, lissom.targets.openvino, sys; " + (
        "sys.exit('openvino' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(("wrong", "saturates"), [(0.0, False), (-1.0, True)])
def test_a_kernel_that_adds_wrongly_is_found_out(fresh, monkeypatch, wrong, saturates):
    monkeypatch.setattr(
        target, "_product_of_largest", lambda depth, columns: np.full((4, columns), depth + wrong)
    )
    monkeypatch.setattr(target, "openvino_package", lambda: type("", (), {"__version__": "1.2-3"}))
    assert kernels_saturate() is saturates
    assert openvino_target().pair_sums is saturates
    assert openvino_target().version == "1.2"


def test_of_a_processor_that_was_not_tried_nothing_is_claimed(fresh, monkeypatch):
    monkeypatch.setattr(target, "kernels_saturate", lambda: False)
    monkeypatch.setattr(target, "openvino_package", lambda: type("", (), {"__version__": "1.2"}))
    monkeypatch.setattr(target, "class_of", lambda machine, saturates: "vnni")
    with pytest.raises(RequestError, match="how OpenVINO adds products on neon is not known"):
        openvino_target("neon")
    assert openvino_target("avx2").pair_sums


def test_its_messages_are_told_without_places_in_its_sources():
    said = (
        "Exception from src/core.cpp:84:\nCheck 'exists(path)' failed at src/frontend.cpp:117:\n"
        "FrontEnd API failed with GeneralFailure:\nonnx: Could not open the file: a.onnx\n\n"
    )
    assert reason(RuntimeError(said)) == "onnx: Could not open the file: a.onnx"
    assert reason(MemoryError()) == "MemoryError"


def test_nothing_is_reported_to_anyone(tmp_path: Path):
    pytest.importorskip("openvino")
    script = (
        "import sys; from lissom.targets.openvino_package import openvino_package\n"
        "openvino_package().Core(); sys.exit('openvino_telemetry' in sys.modules)"
    )
    # It keeps an identity of the user in the home folder, and counts.
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "HOME": str(tmp_path)}, check=False
    )
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
