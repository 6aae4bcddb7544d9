"""Where the time of a compressed network goes, layer by layer, next to its original."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lissom.diagnosis.anchors import LINEAR, Anchor, anchors, original_network
from lissom.diagnosis.cut import Network
from lissom.diagnosis.diagnose import matched
from lissom.diagnosis.floated import in_float
from lissom.diagnosis.match import Matched
from lissom.diagnosis.pieces import first_rows, free_inputs
from lissom.diagnosis.reals import Reals
from lissom.diagnosis.rewrite import in_reals
from lissom.measurement.fused_layers import groups, links
from lissom.measurement.kernel_clock import time_kernels
from lissom.measurement.layer_bytes import layer_bytes, layer_of
from lissom.measurement.layer_times import LayerTimes, Owners, layer_times, owners
from lissom.onnx_file import read_onnx, write_onnx
from lissom.report.diagnosis import LayerTime, Times
from lissom.targets.fallback import Reason
from lissom.targets.fusion import Fate, read_back
from lissom.technique import Track, silent

Array = NDArray[Any]
Batch = Mapping[str, Array]
# Who a conversion stands there for: a layer that should be integer and is not, one that is.
BROKEN, CODES, FLOATS = 2, 1, 0


def times(
    original: Path,
    compressed: Path,
    sample: Batch,
    *,
    threads: int = 1,
    seconds: float = 4.0,
    track: Track = silent,
) -> Times:
    """Time both files in turns and tell what every layer takes in either.

    Args:
        original: a float ONNX file.
        compressed: another that computes the same.
        sample: a batch; its first sample is what a timed run is given, all of it where the batch is
            fixed.
        threads: of the runtime.
        seconds: of running in all, more or less.
        track: shows progress.

    Raises:
        ModelError: the two do not compute the same, or one of them cannot be run.
        FolderError: there is no room for a copy in the temporary folder.
    """
    feeds = first_rows(sample, free_inputs(original, compressed), 1)
    timed = time_kernels(
        (original, compressed), feeds, threads=threads, seconds=seconds, track=track
    )
    found = _matches(original, compressed, feeds)
    before, after = (
        layer_times(each, known) for each, known in zip(timed, found.owners, strict=True)
    )
    order = [one.anchor.name for one in found.matches]
    together = groups(order, found.before, (before, after))
    states = _states(found, read_back(compressed))
    extra = _charged(after, states), _charged(before, states)
    sizes = _bytes(original, compressed, [each.anchor for each in found.matches])
    told = []
    for each in found.matches:
        name = each.anchor.name
        if name not in before.layers and name not in after.layers:
            continue
        members = together[name]
        difference = sum(_longer(one, before, after, extra) for one in members)
        state = states.get(name, _State("", "", None))
        told.append(
            LayerTime(
                name=name,
                original=_median(before.layers.get(name)),
                compressed=_median(after.layers.get(name)),
                conversions=_median(extra[0].get(name)) - _median(extra[1].get(name)),
                fused=tuple(one for one in members if one != name),
                difference=_ends(np.asarray(difference)),
                runs=state.runs,
                why=state.reason.why if state.reason else "",
                fix=state.reason.fix if state.reason else "",
                node=state.node,
                bytes=sizes.get(name),
            )
        )
    return Times(
        original=_median(before.whole),
        compressed=_median(after.whole),
        conversions=(_median(sum(before.edges.values())), _median(sum(after.edges.values()))),
        rest=(_median(before.rest), _median(after.rest)),
        threads=threads,
        inputs=", ".join(f"{n} {'x'.join(map(str, a.shape))}" for n, a in feeds.items()),
        layers=tuple(told),
    )


def with_kept_float(
    times: Times,
    compressed: Path,
    sample: Batch,
    layers: Sequence[str],
    *,
    seconds: float = 4.0,
    track: Track = silent,
) -> Times:
    """The times, with what a run of the compressed file takes longer with a layer in float there.

    Each layer is tried in a copy of the file in which its weights are floats and all else is as it
    was; layers that are float already, have no weights as codes, or find the range of their input
    while running are left as they are.

    Raises:
        ModelError: the file cannot be run.
        FolderError: there is no room for the copies in the temporary folder.
    """
    feeds = first_rows(sample, free_inputs(compressed), 1)
    with tempfile.TemporaryDirectory(prefix="lissom-float-") as folder:
        copies: dict[str, Path] = {}
        for at, name in enumerate(dict.fromkeys(layers)):
            layer = times.of(name)
            model = read_onnx(compressed)
            if layer is not None and in_float(model, layer.node):
                copies[name] = Path(folder) / f"{at}.onnx"
                write_onnx(model, copies[name])
        if not copies:
            return times
        timed = time_kernels(
            (compressed, *copies.values()),
            feeds,
            threads=times.threads,
            seconds=seconds,
            track=track,
        )
    longer = {
        name: _ends(each.whole - timed[0].whole)
        for name, each in zip(copies, timed[1:], strict=True)
    }
    told = [one.model_copy(update={"kept_float": longer.get(one.name)}) for one in times.layers]
    return times.model_copy(update={"layers": tuple(told)})


@dataclass(frozen=True)
class _State:
    """The node of most work of a layer, how it runs, and why as float if it should not."""

    node: str
    runs: Any
    reason: Reason | None

    @property
    def claim(self) -> int:
        if self.reason is not None:
            return BROKEN
        return CODES if self.runs in ("integer", "codes") else FLOATS


@dataclass(frozen=True)
class _Found:
    """Layers with their counterparts, who owns what in both files, and what reads what.

    `quantized` are layers that read codes, in the compressed file, of their data or weights.
    """

    matches: Sequence[Matched]
    owners: tuple[Owners, Owners]
    before: Mapping[str, Sequence[str]]
    quantized: frozenset[str]


def _matches(original: Path, compressed: Path, feeds: Batch) -> _Found:
    first = original_network(original)
    reals = in_reals(read_onnx(compressed, check_weights=False))
    second = Network(reals.proto)
    found, _, _, _ = matched(first, second, reals, anchors(first), feeds)
    roots = {name: each.anchor.name for each in found for name in each.anchor.tensors}
    graphs = [onnx.load(path, load_external_data=False).graph for path in (original, compressed)]
    others = _roots(graphs[1], found, reals)
    known = owners(graphs[0], roots), owners(graphs[1], others)
    return _Found(
        found,
        known,
        links(graphs[0], known[0], roots),
        _quantized(graphs[1], known[1]),
    )


def _roots(graph: onnx.GraphProto, found: Sequence[Matched], reals: Reals) -> dict[str, str]:
    """The layer by each tensor of the compressed file that holds its result, as codes too."""
    layers = {each.root: each.anchor.name for each in found}
    names = [name for node in graph.node for name in node.output if name]
    return {name: layers[reals.root(name)] for name in names if reals.root(name) in layers}


def _quantized(graph: onnx.GraphProto, known: Owners) -> frozenset[str]:
    """Layers that a DequantizeLinear stands before."""
    reals = {n for node in graph.node if node.op_type == "DequantizeLinear" for n in node.output}
    layers = set()
    for node in graph.node:
        if node.op_type != "QuantizeLinear" and any(name in reals for name in node.input):
            layers |= {known.tensors.get(name) for name in node.output}
    return frozenset(layer for layer in layers if layer is not None)


def _states(found: _Found, fates: Any) -> dict[str, _State]:
    """How each layer runs: as its node of most work does."""
    states: dict[str, _State] = {}
    chosen: dict[str, Fate] = {}
    for fate in fates.fates:
        layer = found.owners[1].tensors.get(fate.output)
        if layer is None or fate.kind in ("gone", "conversion"):
            continue
        if layer not in chosen or (fate.op_type in LINEAR and chosen[layer].op_type not in LINEAR):
            chosen[layer] = fate
    for layer, fate in chosen.items():
        quantized = layer in found.quantized or fate.op_type == "MatMulNBits"
        broken = fate.kind == "float" and quantized
        states[layer] = _State(fate.name, fate.kind, fate.reason if broken else None)
    return states


def _charged(side: LayerTimes, states: Mapping[str, _State]) -> dict[str, Array]:
    """Times of conversions by the layer that they stand there for; of two, the one behind."""
    found: dict[str, Array] = {}
    for (before, behind), time in side.edges.items():
        ends = [end for end in (behind, before) if end is not None]
        if ends:
            layer = max(ends, key=lambda end: states[end].claim if end in states else FLOATS)
            found[layer] = found.get(layer, np.zeros_like(time)) + time
    return found


def _longer(
    name: str,
    before: LayerTimes,
    after: LayerTimes,
    extra: tuple[Mapping[str, Array], Mapping[str, Array]],
) -> Array:
    """By how much the compressed file takes longer, in each opening."""
    none = np.zeros_like(after.whole)
    gone = before.layers.get(name, none) + extra[1].get(name, none)
    return np.asarray(after.layers.get(name, none) + extra[0].get(name, none) - gone)


def _bytes(
    original: Path, compressed: Path, layers: Sequence[Anchor]
) -> dict[str, tuple[int, int]]:
    """Bytes of each layer that has weights and a part of the tensors' names of its own."""
    rows = {row.name: row for row in layer_bytes(original, compressed)}
    names = [layer_of(each.weight) for each in layers if each.weight]
    return {
        each.name: (rows[layer].original, rows[layer].compressed)
        for each in layers
        if each.weight
        and names.count(layer := layer_of(each.weight)) == 1
        and layer in rows
        and rows[layer].compressed
    }


def _median(times: Any) -> float:
    """Of the openings; 0 where there is nothing."""
    return float(np.median(times)) if times is not None and np.size(times) else 0.0


def _ends(times: Array) -> tuple[float, float, float]:
    return float(times.min()), float(np.median(times)), float(times.max())
