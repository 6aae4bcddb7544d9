"""ONNX Runtime's own clock: the time of every kernel in every run, as its profile has it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from lissom.arrays import Array, Batch
from lissom.sessions import SESSION_ERRORS, refusal, session_options
from lissom.targets.kernels import TURN, Clocked, Kernel, undisturbed
from lissom.targets.optimized import optimized

KERNEL = "_kernel_time"


def clocked(path: Path, threads: int, prefix: Path) -> ort.InferenceSession:
    """A session that writes the times of its kernels to a file, called after `prefix`.

    Raises:
        ModelError: the runtime refuses the file.
    """
    options = session_options(threads)
    options.enable_profiling = True
    options.profile_file_prefix = str(prefix)
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except SESSION_ERRORS as error:
        raise refusal(error, path) from None


class OnnxRuntimeClock:
    """See `lissom.targets.kernels.Clock`."""

    def file(self, path: Path, folder: Path) -> ProfiledFile:
        """The file, and the graph that ONNX Runtime makes of it."""
        with optimized(path, layouts=True) as file:
            graph = onnx.load(file, load_external_data=False).graph
        kernels = tuple(
            Kernel(node.name, node.op_type, tuple(node.input), tuple(node.output))
            for node in graph.node
        )
        return ProfiledFile(path, folder, kernels, frozenset(t.name for t in graph.initializer))

    def settled(self, openings: Sequence[Array]) -> Array:
        """Each opening's own: it holds the time of every run."""
        return np.concatenate(openings)


@dataclass(frozen=True)
class ProfiledFile:
    """A file whose profiles are written to a folder."""

    path: Path
    folder: Path
    kernels: tuple[Kernel, ...]
    constants: frozenset[str]

    def open(self, threads: int) -> Clocked:
        """Open it anew with the clock on."""
        return Profiled(clocked(self.path, threads, self.folder / "profile"), self.kernels)


class Profiled:
    """A session with a profile."""

    def __init__(self, session: ort.InferenceSession, kernels: Sequence[Kernel]) -> None:
        self.session, self.kernels, self.runs = session, kernels, 0

    def turn(self, feeds: Batch) -> None:
        """Run `TURN` times."""
        for _ in range(TURN):
            self.session.run(None, feeds)
        self.runs += TURN

    def taken(self) -> Array:
        """(1, kernels) milliseconds of each kernel, undisturbed."""
        file = Path(self.session.end_profiling())
        by_name = self._by_kernel(file)
        file.unlink()
        return np.array([[by_name.get(each.name, 0.0) for each in self.kernels]])

    def _by_kernel(self, file: Path) -> dict[str, float]:
        """Milliseconds of each kernel that is run once in every run."""
        times: dict[tuple[str, str], list[int]] = defaultdict(list)
        for event in json.loads(file.read_text(encoding="utf-8")):
            if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
                name = event["name"].removesuffix(KERNEL)
                times[name, str(event["args"].get("node_index"))].append(event["dur"])
        # What runs otherwise often is in the body of a loop.
        return {
            name: undisturbed(taken) / 1e3
            for (name, _), taken in times.items()
            if len(taken) == self.runs
        }
