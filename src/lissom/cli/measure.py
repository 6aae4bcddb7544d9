"""`lissom measure A --against B`: any file alone, or two side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lissom.cli.options import (
    BatchOption,
    JsonOption,
    MetricOption,
    ProcessesOption,
    QuietOption,
    SecondsOption,
    SeedOption,
    ShapeOption,
    TargetOption,
    TaskOption,
    ThreadsOption,
    TokenizerOption,
    read_settings,
    read_task,
)

if TYPE_CHECKING:
    from lissom.report.results import Results


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An .onnx file, lissom's or anyone's.")
    ],
    against: Annotated[
        str | None, typer.Option(help="The original: speed and quality are relative to it.")
    ] = None,
    task: TaskOption = None,
    metric: MetricOption = None,
    tokenizer: TokenizerOption = None,
    target: TargetOption = "onnxruntime",
    batch: BatchOption = 1,
    shape: ShapeOption = None,
    threads: ThreadsOption = 1,
    seconds: SecondsOption = 6.0,
    processes: ProcessesOption = 3,
    seed: SeedOption = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure size, latency, memory and quality of MODEL, alone or next to another file."""
    from lissom.cli.progress import watched
    from lissom.model import open_model
    from lissom.search.side_by_side import side_by_side
    from lissom.targets.named import check_runtime

    check_runtime(target)
    settings = read_settings(batch, shape, threads, seconds, processes)
    opened = open_model(model)
    other = None if against is None else open_model(against)
    chosen_task = read_task(task, metric, tokenizer, opened)
    with watched(quiet or json) as track:
        results = side_by_side(
            opened, other, chosen_task, settings=settings, seed=seed, runtime=target, track=track
        )
    show(results, as_json=json)


def show(results: Results, *, as_json: bool) -> None:
    """Print the table, or everything as JSON."""
    if as_json:
        typer.echo(results.model_dump_json(indent=2))
        return
    from rich.console import Console

    from lissom.report.terminal import table

    console = Console()
    console.print(table(results))
    if results.sentence:
        console.print(f"\n{results.sentence}", highlight=False, markup=False)
