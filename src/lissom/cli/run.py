"""`lissom run RECIPE --model MODEL`: the steps of a recipe, each measured."""

from __future__ import annotations

from pathlib import Path

import typer

from lissom.cli.compress import show
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
    ModelOption,
    OutputOption,
    ProcessesOption,
    QuietOption,
    RecipeArgument,
    SecondsOption,
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


def command(
    recipe: RecipeArgument,
    model: ModelOption,
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
    batch: BatchOption = 1,
    shape: ShapeOption = None,
    threads: ThreadsOption = 1,
    seconds: SecondsOption = 6.0,
    processes: ProcessesOption = 3,
    seed: SeedOption = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a recipe's steps in order and measure what each of them cost and bought.

    Kill it at any moment: the same command goes on, in the middle of a training if need be.
    """
    from lissom.cli.progress import watched
    from lissom.model import open_model
    from lissom.recipe.document import open_recipe
    from lissom.search.folder import check_folder
    from lissom.search.request import Request
    from lissom.search.run import run

    steps = open_recipe(recipe)
    targets = read_targets(target)
    budget = read_budget(max_size, max_latency, min_throughput, max_memory, max_drop)
    settings = read_settings(batch, shape, threads, seconds, processes)
    # Wrong names are told before the model is read; `run` makes the same request again.
    Request(target=targets, cpu=cpu, budget=budget)
    check_folder(output)
    opened = open_model(model)
    chosen_task = read_task(task, metric, tokenizer, opened)
    with watched(quiet or json) as track:
        result = run(
            steps,
            opened,
            chosen_task,
            target=targets,
            cpu=cpu,
            budget=budget,
            folder=output,
            settings=settings,
            seed=seed,
            track=track,
            waiting=lambda: typer.echo(f"another run holds {output}; waiting for it", err=True),
        )
    show(result, output, as_json=json)
    if result.best is None:
        raise typer.Exit(1)
