"""What ONNX Runtime makes of a model file here: what runs in integers, what not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lissom.measurement.feeds import example_feeds
from lissom.measurement.macs import multiply_accumulates_by_node
from lissom.measurement.profile import time_shares
from lissom.measurement.records import Settings
from lissom.onnx_file import inputs_of
from lissom.targets.fusion import Conversion, Fate, ReadBack, read_back
from lissom.targets.machine import Machine
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.targets.saturation import Saturating


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Layer(_Facts):
    """One node of the file: how it runs, its multiply-accumulates if it has some, and why.

    `kind` is "integer", "codes" (moved, not computed with), "float", "conversion" or "gone".
    """

    name: str
    op_type: str
    kind: str
    kernel: str
    multiply_accumulates: int | None = None
    reason: str | None = None
    fix: str | None = None


class Edge(_Facts):
    """A conversion that really runs, how often on such an edge, and the first tensor it reads."""

    op_type: str
    edge: str
    count: int
    tensor: str


class Examination(_Facts):
    """All that `lissom doctor` tells.

    Attributes:
        schema_version: of this record; it changes when a field changes its meaning.
        model: the file's name.
        layers: every node in graph order.
        integer_share: share of the multiply-accumulates that run in integers; None where the
            file has none or they are unknown.
        time: share of a run's time in kernels on codes ("integer"), others ("float") and
            "conversion".
        conversions: those left between codes and floats, the most frequent first.
        saturating: the layers that would add wrongly on an x86 CPU without VNNI.
        kernels_saturate: whether unsigned times signed kernels of this machine give wrong sums.
        machine: where this was read.
        runtime: "ONNX Runtime" with its version.
    """

    schema_version: int = 1
    model: str
    layers: tuple[Layer, ...]
    integer_share: float | None
    time: dict[str, float]
    conversions: tuple[Edge, ...]
    saturating: tuple[Saturating, ...]
    kernels_saturate: bool
    machine: Machine
    runtime: str

    @property
    def fallen_back(self) -> tuple[Layer, ...]:
        """What runs in float and is told why, the most work first."""
        told = [layer for layer in self.layers if layer.reason is not None]
        return tuple(sorted(told, key=lambda layer: -(layer.multiply_accumulates or 0)))

    def count(self, kind: str) -> int:
        """How many nodes of the file run so."""
        return sum(layer.kind == kind for layer in self.layers)


def examine(path: Path, settings: Settings) -> Examination:
    """Read a file's optimized graph back, and run the file a few times with made-up inputs.

    Raises:
        LissomError: the file cannot be opened or run, or a shape does not fit it.
    """
    found = read_back(path)
    kernels = {fate.kernel for fate in found.fates if fate.kind == "integer"}
    feeds = example_feeds(inputs_of(path), settings)
    counts = multiply_accumulates_by_node(path, feeds) or {}
    target = onnxruntime_target()
    return Examination(
        model=path.name,
        layers=tuple(_layer(fate, counts) for fate in found.fates),
        integer_share=_integer_share(found, counts),
        time=time_shares(path, feeds, integer=kernels, threads=settings.threads),
        conversions=_edges(found.conversions),
        saturating=found.saturating,
        kernels_saturate=target.pair_sums,
        machine=target.machine,
        runtime=f"ONNX Runtime {target.version}",
    )


def _layer(fate: Fate, counts: Mapping[str, int]) -> Layer:
    return Layer(
        name=fate.name,
        op_type=fate.op_type,
        kind=fate.kind,
        kernel=fate.kernel,
        multiply_accumulates=counts.get(fate.output),
        reason=fate.reason.why if fate.reason else None,
        fix=fate.reason.fix if fate.reason else None,
    )


def _integer_share(found: ReadBack, counts: Mapping[str, int]) -> float | None:
    total = sum(counts.values())
    if not total:
        return None
    integer = sum(counts.get(fate.output, 0) for fate in found.fates if fate.kind == "integer")
    return integer / total


def _edges(conversions: Iterable[Conversion]) -> tuple[Edge, ...]:
    """Conversions of one operator on edges of one kind, counted together."""
    conversions = tuple(conversions)
    counted = Counter((each.op_type, each.edge) for each in conversions)
    first: dict[tuple[str, str], str] = {}
    for each in conversions:
        first.setdefault((each.op_type, each.edge), each.tensor)
    return tuple(
        Edge(op_type=kind, edge=edge, count=count, tensor=first[kind, edge])
        for (kind, edge), count in counted.most_common()
    )
