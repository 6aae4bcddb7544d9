"""`lissom.compress`: search, and save the best as an artifact anyone can run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lissom.measurement.records import Settings
from lissom.model import Model
from lissom.search.budget import Budget
from lissom.search.choose import Objective
from lissom.search.clock import Clock
from lissom.search.effort import find_effort
from lissom.search.explore import search
from lissom.search.outcome import outcome
from lissom.search.request import Request
from lissom.search.result import Result
from lissom.task import Task
from lissom.technique import Track, silent


def compress(
    model: Model | str | Path | Any,
    task: Task | None = None,
    *,
    target: str | Sequence[str] = "onnxruntime",
    cpu: str | None = None,
    budget: Budget | None = None,
    objective: Objective = "balanced",
    folder: Path | str | None = None,
    example_inputs: Any = None,
    settings: Settings | None = None,
    techniques: Sequence[str] = (),
    effort: str = "normal",
    time: str | float | Clock | None = None,
    seed: int = 0,
    track: Track = silent,
    waiting: Callable[[], None] = lambda: None,
) -> Result:
    """Make a model smaller and faster, measured next to the original.

    Args:
        model: an `.onnx` file, a Hugging Face folder, `file.py:factory`, or an `nn.Module`.
        task: what the model must do; without one quality is not measured.
        target: the runtime it will live in, "onnxruntime" or "openvino"; or several: every file
            is then measured in each, and the limits hold in all of them.
        cpu: the class of processor it will run on, "avx2", "avx512", "vnni" or "neon"; None is
            this machine's. Of another one latency is not measured.
        budget: limits on the result. Where it names no drop, 1pt is allowed with labels, 2pt of
            fidelity without, 2% for metrics that are no share of one.
        objective: what to favour inside the budget: "balanced", "size" or "latency".
        folder: where finished steps are kept, so that a killed run goes on, and where the best is
            saved; a temporary folder that lives as long as the result when None.
        example_inputs: what an `nn.Module` is exported with.
        settings: how latency is measured; left out, 6 seconds of timing for each file (quick
            effort: 1.5), in 3 processes.
        techniques: keep to these; empty tries all that make sense.
        effort: "normal", or "quick": only the candidates that usually win, timed for a quarter of
            the time and judged on at most 500 validation samples, drawn at random. The report
            names what was left out. Techniques that are named are all tried. "thorough" measures
            after the normal candidates what each layer does to the outputs, takes in the file and
            in time in each format, and builds up to three files of mixed precision: within a limit
            on the size those of least predicted error, without one smaller ones than what fits.
        time: the longest that this may take, "10m" or a number of seconds. A candidate that is
            expected not to end in time is not begun, and told; one is measured in any case, and
            what is begun is never cut. It counts from this call on, or as the `Clock` that is
            given does. What is tried then hangs on how fast the machine is, so
            that the same seed no longer means the same file. A run that goes on from finished
            steps counts only what it does itself.
        seed: seeds whatever is random.
        track: shows progress.
        waiting: called when another run holds the folder.

    Raises:
        LissomError: the model, the task, the budget or the folder is wrong.
    """
    request = Request(
        target=target,
        cpu=cpu,
        budget=budget or Budget(),
        objective=objective,
        settings=settings or find_effort(effort).settings(),
        techniques=techniques,
        effort=effort,
        time=time,
        seed=seed,
        track=track,
    )
    return outcome(
        model,
        task,
        lambda opened, store: search(opened, task, request, store),
        folder=folder,
        example_inputs=example_inputs,
        waiting=waiting,
    )
