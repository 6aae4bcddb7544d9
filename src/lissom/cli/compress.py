"""`lissom compress MODEL`: build, measure, choose and save."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lissom.cli.options import (
    BatchOption,
    CpuOption,
    JsonOption,
    MaxDropOption,
    MaxLatencyOption,
    MaxMemoryOption,
    MaxSizeOption,
    MetricOption,
    MinThroughputOption,
    OutputOption,
    ProcessesOption,
    QuietOption,
    SeedOption,
    ShapeOption,
    TargetsOption,
    TaskOption,
    ThreadsOption,
    TokenizerOption,
    read_budget,
    read_settings,
    read_targets,
    read_task,
)

if TYPE_CHECKING:
    from lissom.search.result import Result


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="An .onnx file, a Hugging Face folder, or file.py:factory."
        ),
    ],
    output: OutputOption = Path("lissom-out"),
    task: TaskOption = None,
    metric: MetricOption = None,
    tokenizer: TokenizerOption = None,
    target: TargetsOption = None,
    cpu: CpuOption = None,
    max_size: MaxSizeOption = None,
    max_latency: MaxLatencyOption = None,
    min_throughput: MinThroughputOption = None,
    max_memory: MaxMemoryOption = None,
    max_drop: MaxDropOption = None,
    objective: Annotated[
        str, typer.Option(help="What to favour inside the budget: balanced, size or latency.")
    ] = "balanced",
    technique: Annotated[
        list[str] | None, typer.Option(help="Keep to this technique. Repeatable.")
    ] = None,
    effort: Annotated[
        str,
        typer.Option(
            help="normal, quick: only what usually wins, timed briefly and judged on at most "
            "500 samples; or thorough: mixed precision too, each layer in the format that pays."
        ),
    ] = "normal",
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help='The longest it may take, "10m": what would not end in time is not begun.',
        ),
    ] = None,
    batch: BatchOption = 1,
    shape: ShapeOption = None,
    threads: ThreadsOption = 1,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds of timing for each file; 6, or 1.5 if quick."),
    ] = None,
    processes: ProcessesOption = 3,
    seed: SeedOption = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make MODEL smaller and faster, measured next to the original.

    Kill it at any moment: the same command goes on from the steps that are finished.
    """
    from lissom.cli.progress import watched
    from lissom.model import open_model
    from lissom.search.clock import clock_of
    from lissom.search.compress import compress
    from lissom.search.effort import find_effort
    from lissom.search.folder import check_folder
    from lissom.search.request import Request

    targets = read_targets(target)
    clock = clock_of(time)
    budget = read_budget(max_size, max_latency, min_throughput, max_memory, max_drop)
    seconds = find_effort(effort).seconds if seconds is None else seconds
    settings = read_settings(batch, shape, threads, seconds, processes)
    techniques = tuple(technique or ())
    # Wrong names are told before the model is read; `compress` makes the same request again.
    Request(
        target=targets,
        cpu=cpu,
        budget=budget,
        objective=objective,  # type: ignore[arg-type]
        techniques=techniques,
        effort=effort,
        time=clock,
    )
    check_folder(output)
    opened = open_model(model)
    chosen_task = read_task(task, metric, tokenizer, opened)
    with watched(quiet or json) as track:
        result = compress(
            opened,
            chosen_task,
            target=targets,
            cpu=cpu,
            budget=budget,
            objective=objective,  # type: ignore[arg-type]
            folder=output,
            settings=settings,
            techniques=techniques,
            effort=effort,
            time=clock,
            seed=seed,
            track=track,
            waiting=lambda: typer.echo(f"another run holds {output}; waiting for it", err=True),
        )
    show(result, output, as_json=json)
    if result.best is None:
        raise typer.Exit(1)


def show(result: Result, output: Path, *, as_json: bool) -> None:
    """Print the table and where things lie, or everything as JSON."""
    if as_json:
        typer.echo(result.results.model_dump_json(indent=2))
        return
    from rich.console import Console

    from lissom.artifact import REPORT
    from lissom.report.terminal import table

    console = Console()
    console.print(table(result.results))
    console.print(f"\n{result.results.sentence}\n", highlight=False, markup=False)
    if result.best is not None:
        typer.echo(f"saved:  {output / result.best.path.name}")
    typer.echo(f"report: {output / REPORT}")
