"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from lissom.errors import RequestError

if TYPE_CHECKING:
    from lissom.measure.records import Settings

TaskOption = Annotated[
    str | None,
    typer.Option(
        help="What the model must do: file.py:object, module:object, arrays:FILE.npz, "
        "text:FILE or pairs:FILE.tsv. Without it quality is not measured."
    ),
]
MetricOption = Annotated[str | None, typer.Option(help="accuracy, f1, spearman, cosine, ...")]
TokenizerOption = Annotated[
    str | None, typer.Option(help="Folder or tokenizer.json for text: and pairs:.")
]
BatchOption = Annotated[int, typer.Option(min=1, help="Samples in a timed run.")]
ShapeOption = Annotated[
    list[str] | None, typer.Option(help="Shape of an input in a timed run: NAME=1x128. Repeatable.")
]
ThreadsOption = Annotated[int, typer.Option(min=1, help="Threads of a timed run.")]
SecondsOption = Annotated[float, typer.Option(min=0.1, help="Seconds of timing per pair of files.")]
SeedOption = Annotated[int, typer.Option(help="Seed of whatever is random.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

SHAPE = re.compile(r"^(?P<name>[^=]+)=(?P<sizes>\d+(x\d+)*)$")
PROCESSES = 3


def read_settings(
    batch: int, shapes: list[str] | None, threads: int, seconds: float
) -> Settings:
    """How to measure, from the options' texts.

    Raises:
        RequestError: a shape cannot be read, or there are fewer cores than threads.
    """
    from lissom.measure.records import Settings
    from lissom.targets.machine import usable_cores

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
        found[match["name"]] = tuple(int(size) for size in match["sizes"].split("x"))
    return Settings(
        batch=batch,
        shapes=found,
        threads=threads,
        seconds=seconds / PROCESSES,
        processes=PROCESSES,
    )
