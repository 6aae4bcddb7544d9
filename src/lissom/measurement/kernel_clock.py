"""The clock of a runtime for each kernel of a file, several files in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from lissom.arrays import Array
from lissom.errors import RequestError
from lissom.measurement.footprint import size_on_disk
from lissom.onnx_file import read_onnx, write_onnx
from lissom.targets.kernels import TURN, Clock, ClockedFile, Kernel, undisturbed
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.targets.target import Opener, Session, Target
from lissom.technique import Track, silent

# A file is opened so often: where its weights land in memory changes its speed.
OPENINGS = 6
# Where others use the machine it is opened more often, for up to so many times the time asked for,
# until so many openings of each file took the least time, or up to a twentieth more.
PATIENCE, CALM, STEADY = 4, 2, 1.05
# Turns of each file in an opening.
FEWEST, MOST = 4, 50
# Files of so many bytes together are open at a time, each in two sessions.
MOST_OPEN = 2**30


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
    target: Target | None = None,
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
        target: the runtime, which has a clock; left out, ONNX Runtime.
        track: shown one item for each opening.

    Raises:
        RequestError: the target's kernels cannot be timed.
        ModelError: the runtime refuses a file or the inputs.
        FolderError: there is no room for a copy in the temporary folder.
    """
    target = target or onnxruntime_target()
    clock = clock_of(target)
    with tempfile.TemporaryDirectory(prefix="lissom-clock-") as folder:
        named = [_named(path, Path(folder) / str(at)) for at, path in enumerate(files)]
        clocked = [
            _clocked(clock, path, Path(folder) / f"clock-{at}") for at, path in enumerate(named)
        ]
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
                for each in _runs(named[part], clocked[part], target.open, feeds, threads, share)
            ]
            for at, (taken, whole) in enumerate(runs):
                times[at].append(taken)
                wholes[at].append(whole)
    return [
        _timed(file, clock.settled(times[at]), np.array(wholes[at]))
        for at, file in enumerate(clocked)
    ]


def clock_of(target: Target) -> Clock:
    """The clock of a runtime on this machine.

    Raises:
        RequestError: it has none, or the target is another machine.
    """
    if target.clock is None or not target.here:
        raise RequestError(
            f"layers are timed one by one on this machine, not for {target.title} on {target.cpu}",
            fix="leave out --cpu, and use --target onnxruntime or openvino, for a table of layers",
        )
    return target.clock


def quiet(whole: Array) -> Array:
    """Which openings of a file took the least time, or little more: nobody disturbed them.

    Args:
        whole: (openings,) of a run.
    """
    return np.asarray(whole <= STEADY * whole.min())


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


def _clocked(clock: Clock, path: Path, folder: Path) -> ClockedFile:
    folder.mkdir()
    return clock.file(path, folder)


def _timed(file: ClockedFile, milliseconds: Array, whole: Array) -> Timed:
    rows = [without_clock(each, run) for each, run in zip(milliseconds, whole, strict=True)]
    return Timed(file.kernels, file.constants, np.stack(rows), whole)


def _runs(
    files: Sequence[Path],
    clocked: Sequence[ClockedFile],
    open_file: Opener,
    feeds: Mapping[str, Array],
    threads: int,
    seconds: float,
) -> list[tuple[Array, float]]:
    """Milliseconds of each kernel in stretches of runs, and of a run without the clock, for each
    file.

    Args:
        seconds: of running for each file.
    """
    plain = [open_file(path, threads=threads) for path in files]
    told = [file.open(threads) for file in clocked]
    given = [{name: feeds[name] for name in each.inputs} for each in plain]
    times: list[list[int]] = [[] for _ in files]
    for order in _rounds(len(files), seconds * len(files)):
        for at in order:
            with _failing(plain[at], feeds):
                run = plain[at].repeated(given[at])
                for _ in range(TURN):
                    begin = perf_counter_ns()
                    run()
                    times[at].append(perf_counter_ns() - begin)
        for at in order:
            with _failing(plain[at], feeds):
                told[at].turn(given[at])
    return [
        (each.taken(), undisturbed(taken) / 1e6) for each, taken in zip(told, times, strict=True)
    ]


@contextmanager
def _failing(session: Session, feeds: Mapping[str, Array]) -> Iterator[None]:
    """Failures of a run in words."""
    try:
        yield
    except session.errors as error:
        raise session.failed_run(error, dict(feeds)) from None


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
