"""`latency_table` on a small network: layers in each format, cached for this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lissom.batches import Batches
from lissom.errors import RequestError
from lissom.measurement.kernel_clock import Timed
from lissom.recipe.run import Built
from lissom.recipe.store import Store
from lissom.search import latency_table as module
from lissom.search.latency_table import disturbed, latency_table, leeway
from lissom.tables import Allocation
from lissom.targets.fusion import CONVERSIONS
from lissom.targets.named import RUNTIMES, find_target
from lissom.targets.onnxruntime_clock import OnnxRuntimeClock
from lissom.technique import Context
from tests import models


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_layer_has_its_formats_and_the_table_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    pytest.importorskip(runtime)
    proto = models.depthwise()
    source = Built(models.saved(proto, tmp_path / "net.onnx"), "net")
    feeds = models.feeds(proto, 1)
    batch = models.feeds(proto, 4)
    context = Context(calibration=Batches(lambda: iter([batch])))
    store, target = Store(tmp_path / "store"), find_target(runtime)

    dynamic = [] if target.slow("w8a8 dynamic") else ["w8a8 dynamic"]

    def made():
        formats = ("w8a8", "w4a8", "float16", *dynamic)
        return latency_table(
            source, feeds, context, store, target=target, formats=formats, seconds=0.05
        )

    table = made()
    kinds = {frozenset(times) for times in table.layers.values()}
    # The stem is faster in float, so static quantization leaves it; products may be dynamic.
    floats, codes = {"float32", "float16"}, {"w8a8", "w4a8"}
    assert frozenset(floats) in kinds
    assert frozenset(floats | codes) in kinds
    assert frozenset(floats | codes | set(dynamic)) in kinds
    assert (table.target, table.threads) == (runtime, 1)
    assert len(table.layers) == sum(n.op_type in ("Conv", "Gemm") for n in proto.graph.node)
    for times in table.layers.values():
        assert times["float32"] == times["float16"] >= 0
        assert times.get("w8a8") == times.get("w4a8")
    assert table.changes
    layers = set(table.layers)
    assert all({each.before, each.after} <= layers and each.ms >= 0 for each in table.changes)
    assert table.predict(Allocation(formats={})) > 0

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(module, "time_kernels", never)
    assert made() == table


@pytest.mark.parametrize(("slower", "told"), [(1.0, False), (1.5, True)])
def test_a_table_of_a_disturbed_machine_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: float, told: bool
) -> None:
    proto = models.depthwise()
    source = Built(models.saved(proto, tmp_path / "net.onnx"), "net")
    batch = models.feeds(proto, 4)

    def times(files, feeds, **_):
        """Every kernel takes a millisecond, but the last file, where two formats meet, is timed
        while somebody else computes."""
        found = []
        for at, path in enumerate(files):
            file = OnnxRuntimeClock().file(path, tmp_path)
            each = np.full((2, len(file.kernels)), slower if at == len(files) - 1 else 1.0)
            each[:, [k.op_type in CONVERSIONS for k in file.kernels]] = 0.0
            found.append(Timed(file.kernels, file.constants, each, each.sum(axis=1)))
        return found

    monkeypatch.setattr(module, "time_kernels", times)
    table = latency_table(
        source, models.feeds(proto, 1), Context(calibration=Batches(lambda: iter([batch]))),
        Store(tmp_path / "store"), target=find_target(),
    )  # fmt: skip
    assert bool(disturbed(table)) is told
    assert leeway(table) == (1 + table.spread if told else 1.0)
    if told:
        assert f"up to {table.spread:.0%} apart" in disturbed(table)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_format_that_the_target_computes_otherwise_has_its_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    pytest.importorskip(runtime)
    proto = models.depthwise()
    source = Built(models.saved(proto, tmp_path / "net.onnx"), "net")
    batch = models.feeds(proto, 4)

    def times(files, feeds, **_):
        """Every kernel of the second file takes two milliseconds, of the third three."""
        found = []
        for at, path in enumerate(files):
            file = OnnxRuntimeClock().file(path, tmp_path)
            each = np.full((2, len(file.kernels)), at + 1.0)
            found.append(Timed(file.kernels, file.constants, each, each.sum(axis=1)))
        return found

    monkeypatch.setattr(module, "time_kernels", times)
    table = latency_table(
        source, models.feeds(proto, 1), Context(calibration=Batches(lambda: iter([batch]))),
        Store(tmp_path / "store"), target=find_target(runtime), formats=("w8a8", "w3a8"),
    )  # fmt: skip
    # OpenVINO convolves with weights of three bits in floats.
    alike = runtime == "onnxruntime"
    times_of = [each for each in table.layers.values() if "w8a8" in each]
    assert times_of
    assert all((each["w3a8"] == each["w8a8"]) is alike for each in times_of)


def test_other_machines_are_refused(tmp_path: Path) -> None:
    other = next(cpu for cpu in ("avx2", "vnni") if not find_target("onnxruntime", cpu).here)
    with pytest.raises(RequestError, match="on this machine"):
        latency_table(
            Built(tmp_path / "net.onnx", "net"),
            {},
            Context(),
            Store(tmp_path / "store"),
            target=find_target("onnxruntime", other),
        )
