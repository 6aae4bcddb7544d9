"""OpenVINO's own clock (PERF_COUNT): what each of its nodes takes, told as nodes of the ONNX file.

The clock does not keep single runs. It tells the mean over all runs since the file was compiled,
in whole microseconds, where a small kernel takes five, and somebody else's three milliseconds that
fell into one kernel stay in its mean. From two means follows what the runs between them took, the
less exactly the more runs were before. So it is asked after short stretches of runs, each as long
as the rounding makes necessary: of small networks as long as all before it, up to 160 runs. Over
the stretches of all openings, what is far off is left out, and the rest averages what was rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lissom.arrays import Array, Batch
from lissom.targets.fusion import CONVERSIONS
from lissom.targets.kernels import TURN, Clocked, Kernel
from lissom.targets.openvino import OpenFile, open_file

# No stretch begins after so many runs: longer ones are disturbed more often, and no more exact.
MOST = 160
# What a mean is off by rounding, in milliseconds, and a stretch may be, as a share of what the
# middle one of the kernels takes.
ROUNDED, EXACT = 0.4e-3, 0.03
# The part of the sorted stretches that counts: a few are too short by rounding, and others use the
# machine in up to two fifths, which makes nothing faster.
LOW, HIGH = 0.1, 0.6
# Operators that hold a layer's weights: of nodes that became one kernel these give it its name.
WEIGHTED = frozenset(
    {
        "Conv", "ConvInteger", "ConvTranspose", "Gather", "GatherBlockQuantized", "Gemm", "MatMul",
        "MatMulInteger", "MatMulNBits",
    }
)  # fmt: skip
# Between memory layouts or types of numbers, as ONNX Runtime calls it.
REORDER = "ReorderInput"


class OpenVinoClock:
    """See `lissom.targets.kernels.Clock`."""

    def file(self, path: Path, folder: Path) -> CountedFile:
        """The file, and the graph that OpenVINO makes of it."""
        nodes = list(onnx.load(path, load_external_data=False).graph.node)
        kernels, constants = _graph(_executed(open_file(path, count=True)), nodes)
        return CountedFile(path, kernels, constants)

    def settled(self, openings: Sequence[Array]) -> Array:
        """The same for every opening, from the stretches of all."""
        every = np.sort(np.concatenate(openings), axis=0)
        first = int(LOW * len(every))
        middle = every[first : max(first + 1, math.ceil(HIGH * len(every)))].mean(axis=0)
        return np.tile(middle, (len(openings), 1))


@dataclass(frozen=True)
class CountedFile:
    """A file whose nodes OpenVINO times."""

    path: Path
    kernels: tuple[Kernel, ...]
    constants: frozenset[str]

    def open(self, threads: int) -> Clocked:
        """Compile it anew with the clock on."""
        return Counted(open_file(self.path, threads=threads, count=True))


class Counted:
    """A compiled file whose clock is asked from time to time."""

    def __init__(self, opened: OpenFile) -> None:
        self.opened = opened
        # Names that OpenVINO makes up differ from one compilation to the next, their order not.
        self.places = {each.name: at for at, each in enumerate(_executed(opened))}
        self.run: Callable[[], object] | None = None
        self.counts: list[tuple[int, Array]] = []
        self.runs = 0

    def turn(self, feeds: Batch) -> None:
        """Run `TURN` times, or as often as the clock needs, until that was often enough."""
        if self.runs >= MOST:
            return
        if self.run is None:
            self.run = self.opened.repeated(feeds)
        goal = self.runs + max(TURN, self._stretch())
        while self.runs < goal:
            for _ in range(self._stretch()):
                self.run()
                self.runs += 1
            self.counts.append((self.runs, self._total()))

    def _stretch(self) -> int:
        """How many runs the next stretch needs, to be told from those before it."""
        if len(self.counts) < 2:
            # The first runs warm up, and tell nothing.
            return TURN
        last = self._stretches()[-1]
        kernel = float(np.median(last[last > 0])) if last.any() else 0.0
        needed = math.ceil(self.runs * ROUNDED / (EXACT * kernel)) if kernel else self.runs
        return min(self.runs, needed)

    def _stretches(self) -> Array:
        return np.array(
            [
                np.maximum(0.0, then - before) / (runs - start)
                for (start, before), (runs, then) in pairwise(self.counts)
            ]
        )

    def taken(self) -> Array:
        """(stretches, kernels) milliseconds; the first, which warms up, only where it is alone."""
        if len(self.counts) == 1:
            runs, total = self.counts[0]
            return np.array([total / runs])
        return self._stretches()

    def _total(self) -> Array:
        """(kernels,) milliseconds of all runs, to half of what the clock cuts off."""
        found = np.zeros(len(self.places))
        for each in self.opened.profile():
            at = self.places.get(each.node_name)
            if at is not None:
                mean = each.real_time.total_seconds() * 1e3
                found[at] += self.runs * (mean + 0.5e-3) if mean else 0.0
        return found


@dataclass(frozen=True)
class Executed:
    """A node of OpenVINO's graph.

    Attributes:
        name, kind: its own.
        origins: what it was made of: names of nodes or tensors of the file, and others.
        inputs: names of the nodes that it reads.
    """

    name: str
    kind: str
    origins: tuple[str, ...]
    inputs: tuple[str, ...]


def _executed(opened: OpenFile) -> list[Executed]:
    """OpenVINO's nodes in the order in which they run; constants are in no order."""
    found = []
    for node in opened.compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        read = [each.get_source_output().get_node() for each in node.inputs()]
        executed = Executed(
            node.get_friendly_name(),
            facts["layerType"].value,
            tuple(facts["originalLayersNames"].value.split(",")),
            tuple(each.get_friendly_name() for each in read),
        )
        found.append((int(facts["execOrder"].value), executed))
    return [executed for _, executed in sorted(found, key=lambda each: each[0])]


def _graph(
    executed: Iterable[Executed], nodes: Sequence[onnx.NodeProto]
) -> tuple[tuple[Kernel, ...], frozenset[str]]:
    """OpenVINO's nodes as kernels that have the names of the file's, and what is constant.

    Each kernel's inputs are those that are not constant, where there are any.
    """
    by_name = {name: node for node in nodes for name in (*node.output, node.name) if name}
    kernels = []
    constants: set[str] = set()
    for each in executed:
        moving = tuple(name for name in each.inputs if name not in constants)
        if each.kind == "Const" or (each.inputs and not moving):
            constants.add(each.name)
        made_of = [by_name[name] for name in each.origins if name in by_name]
        node = _telling(made_of)
        kernels.append(
            Kernel(
                (node.name if node else "") or each.name,
                _operator(each, node),
                moving or each.inputs,
                (each.name, *(node.output if node else ())),
            )
        )
    return tuple(kernels), frozenset(constants)


def _telling(nodes: Sequence[onnx.NodeProto]) -> onnx.NodeProto | None:
    """The node that tells what a kernel computes: the first with weights, or one that is no
    conversion."""

    def first(wanted: Callable[[Any], bool]) -> onnx.NodeProto | None:
        return next((node for node in nodes if wanted(node)), None)

    return (
        first(lambda node: node.op_type in WEIGHTED)
        or first(lambda node: node.op_type not in CONVERSIONS)
        or first(lambda node: True)
    )


def _operator(executed: Executed, node: onnx.NodeProto | None) -> str:
    if node is not None:
        return str(node.op_type)
    return REORDER if executed.kind in ("Reorder", "Convert") else executed.kind
