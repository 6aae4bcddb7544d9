"""`lissom check OUT`: is the artifact whole, computes it right here, does it keep its promises?"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lissom.cli.options import (
    JsonOption,
    MaxDropOption,
    MaxLatencyOption,
    MaxMemoryOption,
    MaxSizeOption,
    MetricOption,
    MinThroughputOption,
    QuietOption,
    TaskOption,
    TokenizerOption,
    read_budget,
    read_task,
)
from lissom.errors import RequestError

if TYPE_CHECKING:
    from lissom.search.check import Checked


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder that compress or run wrote.")
    ],
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again and judge the recorded limits.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(help="The runtime: onnxruntime or openvino; what it was built for if left."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="The original .onnx file; looked for by its digest if not given."),
    ] = None,
    task: TaskOption = None,
    metric: MetricOption = None,
    tokenizer: TokenizerOption = None,
    max_size: MaxSizeOption = None,
    max_latency: MaxLatencyOption = None,
    min_throughput: MinThroughputOption = None,
    max_memory: MaxMemoryOption = None,
    max_drop: MaxDropOption = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds of timing for each file.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Fresh processes that the seconds are spread over.")
    ] = None,
    json: JsonOption = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML, a test for each promise.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Check the artifact in OUT: its files, one example, and its sums on this machine.

    With --measure, a limit, --task or --against it is measured again, next to the original where
    that is at hand, and held to the limits it was made with; one that is given replaces the
    recorded one. Exits with 1 when a promise does not hold.
    """
    from lissom.cli.progress import watched
    from lissom.search.check import check

    started = time.monotonic()
    budget = read_budget(max_size, max_latency, min_throughput, max_memory, max_drop)
    if seconds is not None and not math.isfinite(seconds):
        raise RequestError(f"--seconds {seconds} is no time", fix="give seconds, such as 6")
    if junit is not None:
        _refuse_place(junit)
    named = (task, metric, tokenizer) != (None, None, None)
    with watched(quiet or json) as track:
        found = check(
            folder,
            measure=measure,
            target=target,
            budget=budget,
            task=(lambda model: read_task(task, metric, tokenizer, model)) if named else None,
            against=against,
            seconds=seconds,
            processes=processes,
            track=track,
        )
    if junit is not None:
        _write(junit, found, time.monotonic() - started)
    show(found, as_json=json)
    if not found.passed:
        raise typer.Exit(1)


def show(found: Checked, *, as_json: bool) -> None:
    """Print what was found, or everything as JSON."""
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    from rich.console import Console

    from lissom.report.text import wrapped

    width = Console().width
    lines = (part for line in str(found).splitlines() for part in wrapped(line, width))
    typer.echo("\n".join(lines))


def _refuse_place(path: Path) -> None:
    """Refuse what cannot be a file, before anything is measured."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise RequestError(
            f"--junit {path} is {'a folder' if path.is_dir() else 'in a folder that is not there'}",
            fix="name a file, such as lissom.xml",
        )


def _write(path: Path, found: Checked, seconds: float) -> None:
    """One test for the artifact as it is, and one for each promise."""
    from lissom.artifact import write_text
    from lissom.report.junit import Case, Outcome, junit

    whole = "files as recorded; one example ran; sums are exact on this machine"
    cases = [
        Case(
            "artifact",
            "failed" if found.problems else "passed",
            "\n".join(found.problems) or whole,
        )
    ]
    outcomes: dict[bool | None, Outcome] = {True: "passed", False: "failed", None: "skipped"}
    cases += (Case(each.name, outcomes[each.holds], str(each)) for each in found.promises)
    write_text(path, junit(f"lissom check {found.name}", cases, seconds=seconds))
