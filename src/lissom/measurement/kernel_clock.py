"""ONNX Runtime's own clock for each kernel of a file, several files in turns."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import onnx
import onnxruntime as ort

from lissom.arrays import Array
from lissom.measurement.footprint import size_on_disk
from lissom.onnx_file import read_onnx, write_onnx
from lissom.sessions import SESSION_ERRORS, failed_run, open_session, refusal, session_options
from lissom.targets.optimized import optimized
from lissom.technique import Track, silent

# A file is opened so often: where its weights land in memory changes its speed.
OPENINGS = 6
# Where others use the machine it is opened more often, for up to so many times the time asked for,
# until so many openings of each file took the least time, or up to a twentieth more.
PATIENCE, CALM, STEADY = 4, 2, 1.05
# Turns, and runs of a turn: the first of them finds the caches full of another file's data.
FEWEST, MOST, TURN = 4, 50, 5
# Files of so many bytes together are open at a time, each in two sessions.
MOST_OPEN = 2**30
KERNEL = "_kernel_time"


@dataclass(frozen=True)
class Kernel:
    """One kernel of the graph that runs: its name and operator, and the tensors it is given."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Timed:
    """The kernels of a file, in order, with their times.

    Attributes:
        kernels: of the main graph; what runs in the body of a loop is in the time of the loop.
        constants: tensors that the graph stores.
        milliseconds: (openings, kernels), without what the clock costs: a row sums to `whole`.
        whole: (openings,) of a run without the clock.
    """

    kernels: tuple[Kernel, ...]
    constants: frozenset[str]
    milliseconds: Array
    whole: Array


def time_kernels(
    files: Sequence[Path],
    feeds: Mapping[str, Array],
    *,
    threads: int = 1,
    seconds: float = 4.0,
    openings: int = OPENINGS,
    track: Track = silent,
) -> list[Timed]:
    """Time every kernel of every file, warm, in rounds in which each file has its turn.

    Args:
        files: model files with the same inputs.
        feeds: one run's inputs.
        threads: threads of a kernel.
        seconds: of running in all, more or less, and four times as much where times differ; a slow
            file runs a few times all the same.
        openings: how often each file is opened anew; more often where times differ, and twice
            where the files are slow.
        track: shown one item for each opening.

    Raises:
        ModelError: the runtime refuses a file or the inputs.
        FolderError: there is no room for a copy in the temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="lissom-clock-") as folder:
        named = [_named(path, Path(folder) / str(at)) for at, path in enumerate(files)]
        graphs = [_graph(path) for path in named]
        beside = _portions([size_on_disk(path) for path in files])
        times: list[list[Array]] = [[] for _ in files]
        wholes: list[list[float]] = [[] for _ in files]
        deadline = perf_counter_ns() + int(PATIENCE * seconds * 1e9)
        for done in track(range(PATIENCE * openings), "time layers", PATIENCE * openings):
            settled = all(quiet(np.array(each)).sum() >= CALM for each in wholes if each)
            late = perf_counter_ns() > deadline
            if (done >= openings and settled) or (done >= min(CALM, openings) and late):
                break
            share = seconds / openings / len(files)
            runs = [
                each
                for part in beside
                for each in _runs(named[part], feeds, threads, share, Path(folder))
            ]
            for at, ((kernels, _), (by_name, whole)) in enumerate(zip(graphs, runs, strict=True)):
                found = np.array([by_name.get(each.name, 0.0) for each in kernels])
                times[at].append(without_clock(found, whole))
                wholes[at].append(whole)
    return [
        Timed(kernels, constants, np.stack(times[at]), np.array(wholes[at]))
        for at, (kernels, constants) in enumerate(graphs)
    ]


def quiet(whole: Array) -> Array:
    """Which openings of a file took the least time, or little more: nobody disturbed them.

    Args:
        whole: (openings,) of a run.
    """
    return np.asarray(whole <= STEADY * whole.min())


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


def spread(timed: Iterable[Timed]) -> float:
    """How much longer than its fastest opening a file's second fastest took: the largest share.

    Beyond a twentieth others used the machine, and times of files cannot be compared.
    """
    ends = (np.sort(each.whole)[:CALM] for each in timed)
    return max((float(end[-1] / end[0] - 1) for end in ends if end[0] > 0), default=0.0)


def without_clock(kernels: Array, whole: float) -> Array:
    """Times of kernels that sum to the time of a run without a clock.

    Reading the clock costs about the same at every kernel, a microsecond or two, so the same is
    taken from each, at most all that it has. Where a whole run took longer than its kernels, they
    take their parts of it in proportion.

    Args:
        kernels: (kernels,) clocked times.
        whole: of a run that is not clocked, in the same unit.
    """
    total = float(kernels.sum())
    if not total:
        return kernels
    if whole >= total:
        return kernels * (whole / total)
    # sum(max(0, t - c)) = whole: the largest n kernels are left, for the n at which c fits.
    falling = np.sort(kernels)[::-1]
    costs = (np.cumsum(falling) - whole) / np.arange(1, falling.size + 1)
    cost = costs[np.flatnonzero(falling > costs)[-1]] if whole > 0 else falling[0]
    return np.asarray(np.maximum(0.0, kernels - cost))


def _portions(sizes: Sequence[int]) -> list[slice]:
    """Files that are open together, one after the other in order: all, unless they are large."""
    found, start = [], 0
    for at in range(1, len(sizes) + 1):
        if at == len(sizes) or sum(sizes[start : at + 1]) > MOST_OPEN:
            found.append(slice(start, at))
            start = at
    return found


def _named(path: Path, folder: Path) -> Path:
    """The file, or a copy of it whose nodes have names: the clock tells kernels by them."""
    model = read_onnx(path, check_weights=False)
    names = [node.name for node in model.graph]
    if all(names) and len(set(names)) == len(names):
        return path
    taken: set[str] = set()
    for at, node in enumerate(model.graph):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}#{at}"
        taken.add(node.name)
    folder.mkdir()
    write_onnx(model, folder / "model.onnx")
    return folder / "model.onnx"


def _graph(path: Path) -> tuple[tuple[Kernel, ...], frozenset[str]]:
    with optimized(path, layouts=True) as file:
        graph = onnx.load(file, load_external_data=False).graph
    kernels = tuple(
        Kernel(node.name, node.op_type, tuple(node.input), tuple(node.output))
        for node in graph.node
    )
    return kernels, frozenset(tensor.name for tensor in graph.initializer)


def _runs(
    files: Sequence[Path], feeds: Mapping[str, Array], threads: int, seconds: float, folder: Path
) -> list[tuple[dict[str, float], float]]:
    """Milliseconds of each kernel by name, and of a run without the clock, for each file.

    Args:
        seconds: of running for each file.
    """
    plain = [open_session(path, threads=threads) for path in files]
    told = [clocked(path, threads, folder / f"profile-{at}") for at, path in enumerate(files)]
    given = [{spec.name: feeds[spec.name] for spec in each.get_inputs()} for each in plain]
    times: list[list[int]] = [[] for _ in files]
    for order in _rounds(len(files), seconds * len(files)):
        for sessions in (plain, told):
            for at in order:
                try:
                    for _ in range(TURN):
                        begin = perf_counter_ns()
                        sessions[at].run(None, given[at])
                        if sessions is plain:
                            times[at].append(perf_counter_ns() - begin)
                except (*SESSION_ERRORS, MemoryError) as error:
                    raise failed_run(error, plain[at], feeds, files[at]) from None
    found = []
    for session, taken in zip(told, times, strict=True):
        file = Path(session.end_profiling())
        found.append((_by_kernel(file, len(taken)), _undisturbed(taken) / 1e6))
        file.unlink()
    return found


def _by_kernel(file: Path, runs: int) -> dict[str, float]:
    """Milliseconds of each kernel that is run once in every run."""
    times: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in json.loads(file.read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            name = event["name"].removesuffix(KERNEL)
            times[name, str(event["args"].get("node_index"))].append(event["dur"])
    # What runs otherwise often is in the body of a loop.
    return {
        name: _undisturbed(taken) / 1e3 for (name, _), taken in times.items() if len(taken) == runs
    }


def _undisturbed(times: Sequence[int]) -> float:
    """The mean of the fastest quarter: others use the machine too, which makes nothing faster.

    A mean, since the clock counts whole microseconds.
    """
    warm = [time for at, time in enumerate(times) if at % TURN]
    return float(np.sort(warm)[: max(1, len(warm) // 4)].mean())


def _rounds(files: int, seconds: float) -> Iterator[Sequence[int]]:
    """The order of the files in each round, forth and back, until the time is over.

    Where few rounds take much longer than that, there is one.
    """
    forth = range(files)
    begin = perf_counter_ns()
    for done in range(MOST):
        patience = 1 if done >= FEWEST else PATIENCE
        if done and perf_counter_ns() - begin >= patience * seconds * 1e9:
            return
        yield forth if done % 2 else forth[::-1]
