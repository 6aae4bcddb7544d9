"""Layers whose nodes have no name: they have errors, bytes and times like all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lissom.batches import Batches
from lissom.measurement.kernel_clock import Timed
from lissom.onnx_file import read_onnx
from lissom.quantize.formats import layers_of
from lissom.recipe.run import Built, run
from lissom.recipe.store import Store
from lissom.search import latency_table as module
from lissom.search.candidates import BASELINE
from lissom.search.latency_table import latency_table
from lissom.tables import Allocation, LatencyTable
from lissom.targets.named import find_target
from lissom.targets.onnxruntime_clock import OnnxRuntimeClock
from lissom.technique import Context
from tests import models


def network(*, named: int) -> onnx.ModelProto:
    """With names for the first nodes only."""
    proto = models.depthwise()
    for node in proto.graph.node[named:]:
        node.name = ""
    return proto


def table_of(proto: onnx.ModelProto, folder: Path) -> tuple[LatencyTable, list[str]]:
    """The table, every kernel in integers taking one millisecond and others two; names of layers
    as sizes and errors have them."""
    folder.mkdir()
    source = Built(models.saved(proto, folder / "net.onnx"), "net")
    batch = models.feeds(proto, 4)
    context, store = Context(calibration=Batches(lambda: iter([batch]))), Store(folder / "store")
    table = latency_table(source, models.feeds(proto, 1), context, store, target=find_target())
    base = run(BASELINE, source, context, store)
    return table, [layer.name for layer in layers_of(read_onnx(base.path))]


@pytest.mark.parametrize("named", [0, 1])
def test_layers_without_names_are_timed_like_those_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: int
) -> None:
    def times(files: list[Path], feeds: object, **_: object) -> list[Timed]:
        found = []
        for path in files:
            file = OnnxRuntimeClock().file(path, tmp_path)
            each = [1.0 if "QLinear" in kernel.op_type else 2.0 for kernel in file.kernels]
            found.append(Timed(file.kernels, file.constants, np.array([each] * 2), np.ones(2)))
        return found

    monkeypatch.setattr(module, "time_kernels", times)
    full, names = table_of(models.depthwise(), tmp_path / "full")
    bare, called = table_of(network(named=named), tmp_path / "bare")
    assert set(bare.layers) == set(called)
    assert len(called) == len(names)
    assert [bare.layers[name] for name in called] == [full.layers[name] for name in names]
    # Edges between layers, too: all in codes costs the same, and is another time than in floats.
    one, other = (
        Allocation(
            formats={name: "w8a8" for name, known in table.layers.items() if "w8a8" in known}
        )
        for table in (full, bare)
    )
    assert bare.predict(other) == full.predict(one) != full.predict(Allocation(formats={}))
    assert len(bare.changes) == len(full.changes) > 0
