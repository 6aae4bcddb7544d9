"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lissom.errors import RequestError

if TYPE_CHECKING:
    from lissom.measurement.records import Settings
    from lissom.model import Model
    from lissom.search.budget import Budget
    from lissom.task import Task

RecipeArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A YAML file, or a shipped one: see `lissom recipes`."),
]
ModelOption = Annotated[
    str, typer.Option(help="An .onnx file, a Hugging Face folder, or file.py:factory.")
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="What the model must do: images:FOLDER, arrays:FILE.npz, table:FILE.parquet, "
        "text:FILE, pairs:FILE.tsv, file.py:object or module:object; settings follow commas: "
        "images:FOLDER,size=224. Without it quality is not measured."
    ),
]
MetricOption = Annotated[str | None, typer.Option(help="accuracy, f1, spearman, cosine, ...")]
TokenizerOption = Annotated[
    str | None, typer.Option(help="Folder or tokenizer.json for text:, pairs: and table:.")
]
BatchOption = Annotated[int, typer.Option(min=1, help="Samples in a timed run.")]
ShapeOption = Annotated[
    list[str] | None, typer.Option(help="Shape of an input in a timed run: NAME=1x128. Repeatable.")
]
ThreadsOption = Annotated[int, typer.Option(min=1, help="Threads of a timed run.")]
SecondsOption = Annotated[float, typer.Option(min=0.1, help="Seconds of timing for each file.")]
ProcessesOption = Annotated[
    int, typer.Option(min=1, help="Fresh processes that the seconds are spread over.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of whatever is random.")]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the result and the finished steps.")
]
TargetOption = Annotated[str, typer.Option(help="The runtime: onnxruntime or openvino.")]
TargetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="The runtime the model will live in: onnxruntime (if none is given) or openvino. "
        "Repeatable: every file is then measured in each, and the limits hold in all.",
    ),
]
CpuOption = Annotated[
    str | None,
    typer.Option(
        help="Processor it will run on: avx2, avx512, vnni or neon. Of another than this "
        "machine's, latency is not measured."
    ),
]
MaxSizeOption = Annotated[str | None, typer.Option(help='Such as "25MB".')]
MaxLatencyOption = Annotated[str | None, typer.Option(help='Median of one run, "20ms".')]
MinThroughputOption = Annotated[str | None, typer.Option(help='Samples a second, "100/s".')]
MaxMemoryOption = Annotated[str | None, typer.Option(help='Peak memory, "200MB".')]
MaxDropOption = Annotated[
    str | None, typer.Option(help='Loss of quality: "1pt" (0.01 of the metric) or "1%".')
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

SHAPE = re.compile(r"^(?P<name>[^=]+)=(?P<sizes>\d+(x\d+)*)$")


def read_targets(targets: list[str] | None) -> tuple[str, ...]:
    """The runtimes' names; ONNX Runtime where none is given."""
    from lissom.targets.named import DEFAULT

    return tuple(targets or (DEFAULT,))


def read_budget(
    size: str | None,
    latency: str | None,
    throughput: str | None,
    memory: str | None,
    drop: str | None,
) -> Budget:
    """The limits, from the options' texts.

    Raises:
        RequestError: one cannot be read.
    """
    from lissom.search.budget import Budget

    return Budget(size=size, latency=latency, throughput=throughput, memory=memory, drop=drop)


def read_settings(
    batch: int, shapes: list[str] | None, threads: int, seconds: float, processes: int
) -> Settings:
    """How to measure, from the options' texts.

    Raises:
        RequestError: a shape cannot be read, or there are fewer cores than threads.
    """
    from lissom.measurement.records import Settings
    from lissom.targets.machine import usable_cores

    if not math.isfinite(seconds):
        raise RequestError(f"--seconds {seconds} is no time", fix="give seconds, such as 6")
    if threads > usable_cores():
        raise RequestError(
            f"--threads {threads} is more than the {usable_cores()} cores this process may use",
            fix=f"use at most {usable_cores()}: more threads than cores measure the scheduler",
        )
    found: dict[str, tuple[int, ...]] = {}
    for text in shapes or []:
        match = SHAPE.match(text)
        if match is None:
            raise RequestError(f"cannot read the shape {text!r}", fix="write it like ids=1x128")
        if match["name"] in found:
            raise RequestError(f"two shapes for the input {match['name']!r}", fix="give one")
        found[match["name"]] = tuple(int(size) for size in match["sizes"].split("x"))
    return Settings(
        batch=batch,
        shapes=found,
        threads=threads,
        seconds=seconds / processes,
        processes=processes,
    )


def read_task(
    task: str | None, metric: str | None, tokenizer: str | None, model: Model
) -> Task | None:
    """The task of `--task`, `--metric` and `--tokenizer`, or None without one.

    Raises:
        LissomError: the task cannot be opened, or what belongs to a task is given without one.
    """
    from lissom.metrics import metric_named
    from lissom.sources import open_task

    if task is not None:
        place = None if tokenizer is None else Path(tokenizer)
        return open_task(task, model=model, metric=metric, tokenizer=place)
    if metric is not None:
        metric_named(metric)
    for option, value in (("--metric", metric), ("--tokenizer", tokenizer)):
        if value is not None:
            raise RequestError(
                f"{option} {value} is given without --task, so there is nothing to judge by",
                fix="name the data too: --task images:FOLDER, arrays:FILE.npz, "
                "table:FILE.parquet, text:FILE, pairs:FILE.tsv, or file.py:object",
            )
    return None
