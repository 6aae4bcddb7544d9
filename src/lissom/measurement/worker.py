"""The fresh process in which files are timed and their memory is read.

Run as `python -m lissom.measurement.worker`; `lissom.measurement.process.ask` is the other end.
One job comes in as a line of JSON on stdin, one answer leaves as JSON on stdout. Whoever asked
keeps stdin open; when it closes, nobody waits for the answer any more. Nothing imports this module.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from lissom.errors import LissomError
from lissom.targets.named import DEFAULT, opener
from lissom.targets.target import Session

WARM_UP_SHARE = 0.1
MAX_ROUNDS = 5_000
MAX_TURNS = 4

Feeds = dict[str, np.ndarray]


def main() -> None:
    """Read a job from stdin, do it, print the answer; an error of the user's is an answer too.

    What a runtime prints of itself goes to stderr, so that nothing but the answer is in stdout.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, args=(sys.stdin.fileno(),), daemon=True).start()
    pin(job["threads"])
    try:
        feeds = read_feeds(job["feeds"])
        answer = JOBS[job["job"]](job, feeds)
    except LissomError as error:
        answer = {"error": {"what": error.what, "where": error.where, "fix": error.fix}}
    with answers:
        json.dump(answer, answers)


def end_with_parent(stdin: int) -> None:
    """End this process when its stdin does. Until then the thread sleeps and takes no time."""
    # Not through sys.stdin, whose lock the interpreter wants when it ends.
    while os.read(stdin, 1):
        pass
    os._exit(1)


def read_feeds(path: str) -> Feeds:
    """What `lissom.measurement.process.stored` wrote: the names, then one array for each."""
    with np.load(path, allow_pickle=False) as arrays:
        names = arrays["arr_0"].tolist()
        return {name: arrays[f"arr_{place}"] for place, name in enumerate(names, start=1)}


def pin(threads: int) -> None:
    """Keep this process on the first `threads` cores it may use, where the system lets us."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class Runner:
    """One open file with its feeds, ready to be run again and again."""

    def __init__(self, path: str, feeds: Feeds, threads: int, runtime: str = DEFAULT) -> None:
        self.session: Session = opener(runtime)(path, threads=threads, in_turns=True)
        wanted = self.session.inputs
        absent = [name for name in wanted if name not in feeds]
        if absent:
            raise LissomError(
                f"the model takes inputs that the data does not have: {', '.join(absent)}",
                where=path,
                fix=f"the data has {', '.join(feeds)}; name the arrays as the model's inputs",
            )
        self.feeds = {name: feeds[name] for name in wanted}
        self.once = self.session.repeated(self.feeds)

    def run(self) -> None:
        """Run once; raises LissomError when the runtime cannot."""
        try:
            self.once()
        except self.session.errors as error:
            raise self.session.failed_run(error, self.feeds) from None

    def time(self) -> int:
        """Nanoseconds of one run."""
        begin = perf_counter_ns()
        self.once()
        return perf_counter_ns() - begin


def time_in_turns(job: dict[str, Any], feeds: Feeds) -> dict[str, Any]:
    """Time one file, or two in rounds A B B A: `{"openings": [[[ns of A], [ns of B]], ...]}`.

    Within a round a linear drift of the machine's speed cancels; the next round is B A A B. Where
    the weights land in memory changes the speed of the very same file by a per cent, and so does
    which file was opened first. So the files are closed and opened again, in the other order,
    `2 * turns` times: the answer has one entry for each opening.
    """
    openings = [time_opened(job, feeds, swapped=False, turns=None)]
    turns = openings[0]["turns"]
    for number in range(1, 2 * turns):
        openings.append(time_opened(job, feeds, swapped=number % 2 == 1, turns=turns))
    return {"openings": [opening["times"] for opening in openings]}


def time_opened(
    job: dict[str, Any], feeds: Feeds, *, swapped: bool, turns: int | None
) -> dict[str, Any]:
    """Open the files once and time them for a share of the seconds."""
    begin = perf_counter_ns()
    sides = list(range(len(job["files"])))
    opened = {}
    for side in reversed(sides) if swapped else sides:
        opened[side] = Runner(job["files"][side], feeds, job["threads"], job["runtime"])
        opened[side].run()
        opened[side].run()
    if turns is None:
        overhead = (perf_counter_ns() - begin) / 1e9
        turns = max(job["least_turns"], min(MAX_TURNS, int(job["seconds"] / (4 * overhead))))
    share = job["seconds"] / (2 * turns)
    warm_up(opened.values(), share * WARM_UP_SHARE)
    times = rounds([opened[side] for side in sides], share, swapped=swapped)
    return {"turns": turns, "times": times}


def rounds(runners: Sequence[Runner], seconds: float, *, swapped: bool) -> list[list[int]]:
    """Rounds of A B B A and B A A B until `seconds` are over, an even number of them."""
    times: list[list[int]] = [[] for _ in runners]
    forth = [*range(len(runners))]
    order = forth[::-1] if swapped else forth
    gc.disable()
    deadline = perf_counter_ns() + int(seconds * 1e9)
    done = 0
    while done == 0 or (done < MAX_ROUNDS and perf_counter_ns() < deadline):
        for side in (*order, *order[::-1], *order[::-1], *order):
            times[side].append(runners[side].time())
        done += 2
    gc.enable()
    return times


def warm_up(runners: Iterable[Runner], seconds: float) -> None:
    """Run each in turn until `seconds` are over."""
    waiting = list(runners)
    deadline = perf_counter_ns() + int(seconds * 1e9)
    while perf_counter_ns() < deadline:
        for runner in waiting:
            runner.run()


def peak_memory(job: dict[str, Any], feeds: Feeds) -> dict[str, Any]:
    """Bytes by which opening and running a file raised the peak: `{"bytes": int | None}`.

    A model of one Identity runs first, so that the runtime's own start is not counted.
    """
    with tempfile.TemporaryDirectory(prefix="lissom-") as folder:
        identity = Path(folder) / "identity.onnx"
        identity.write_bytes(identity_model())
        trivial = opener(job["runtime"])(identity, threads=job["threads"])
        trivial({"x": np.zeros(1, np.float32)})
    forget_peak()
    before = resident_peak()
    runner = Runner(job["files"][0], feeds, job["threads"], job["runtime"])
    runner.run()
    runner.run()
    after = resident_peak()
    return {"bytes": None if before is None or after is None else after - before}


def identity_model() -> bytes:
    """A model that returns its one number."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def forget_peak() -> None:
    """Make Linux count the peak from here on; elsewhere the peak so far stays."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def resident_peak() -> int | None:
    """Highest resident set of this process in bytes, None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


JOBS = {"time": time_in_turns, "memory": peak_memory}

if __name__ == "__main__":
    main()
