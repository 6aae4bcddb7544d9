"""The time of a run by kind of kernel, whatever of its weights the clock still sees."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from lissom.measurement.profile import time_shares
from lissom.measurement.records import Settings
from lissom.onnx_file import write_onnx
from lissom.quantize.dynamic import Dynamic, dynamic
from lissom.report.doctor import examine
from lissom.technique import Context
from tests import models


def test_kernels_whose_weights_were_packed_are_integer_when_they_are_known_to_be(
    tmp_path: Path,
) -> None:
    proto = models.mlp()
    path = tmp_path / "dynamic.onnx"
    write_onnx(dynamic(ir.from_proto(proto), Dynamic(), Context()), path)
    feeds = models.feeds(proto, 1)
    known = time_shares(path, feeds, integer={"DynamicQuantizeMatMul", "MatMulIntegerToFloat"})
    assert sum(known.values()) == pytest.approx(1.0)
    assert known["integer"] > 0
    found = examine(path, Settings())
    assert found.count("integer") > 0
    assert found.time["integer"] > 0
