"""`lissom diagnose ORIGINAL COMPRESSED`: which layers make the error, why, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lissom.cli.options import (
    CpuOption,
    JsonOption,
    MetricOption,
    QuietOption,
    SeedOption,
    ShapeOption,
    TaskOption,
    TokenizerOption,
    read_settings,
    read_task,
)
from lissom.cli.told import check_page, tell


def command(
    original: Annotated[
        str,
        typer.Argument(
            metavar="ORIGINAL", help="An .onnx file, a Hugging Face folder, or file.py:factory."
        ),
    ],
    compressed: Annotated[
        str,
        typer.Argument(
            metavar="COMPRESSED", help="An .onnx file made of it by anyone, or its folder."
        ),
    ],
    task: TaskOption = None,
    metric: MetricOption = None,
    tokenizer: TokenizerOption = None,
    samples: Annotated[
        int, typer.Option(min=8, help="Samples to look at: at most so many, drawn at random.")
    ] = 256,
    shape: ShapeOption = None,
    cpu: CpuOption = None,
    seed: SeedOption = 0,
    every: Annotated[bool, typer.Option("--all", help="List every layer.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the diagnosis as a page too.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where finished parts are kept, for the same command to go on from. The folder of "
            "lissom's that COMPRESSED lies in; else lissom-out."
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what was kept, and begin anew.")
    ] = False,
    times: Annotated[
        bool, typer.Option("--times/--no-times", help="Time every layer in both files.")
    ] = True,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell which layers of COMPRESSED make its error, why, and what to do about it.

    Without --task the inputs are made up: what is said of weights holds, what is said of ranges
    may be different on real data. Kill it at any moment: the same command goes on from the parts
    that are finished, and answers at once when all are.
    """
    from lissom.cli.progress import watched
    from lissom.model import open_model
    from lissom.report.diagnosis_page import render_diagnosis
    from lissom.report.diagnosis_text import as_text
    from lissom.search.diagnose import diagnose
    from lissom.search.folder import first_usable

    settings = read_settings(1, shape, threads=1, seconds=1.0, processes=1)
    check_page(output)
    opened = open_model(original)
    chosen_task = read_task(task, metric, tokenizer, opened)
    file = Path(compressed)
    beside = file if file.is_dir() else file.parent
    place = folder or first_usable([beside, Path("lissom-out")])
    if task is None and not quiet and (judged := _judged_by(beside)):
        told = f"inputs are made up, for want of --task; {compressed} was judged by {judged}"
        typer.echo(told, err=True)
    with watched(quiet or json) as track:
        found = diagnose(
            opened,
            compressed,
            chosen_task,
            samples=samples,
            shapes=settings.shapes,
            seed=seed,
            cpu=cpu,
            folder=place,
            fresh=fresh,
            times=times,
            track=track,
            waiting=lambda: typer.echo(f"another run holds {place}; waiting for it", err=True),
        )
    tell(
        found,
        lambda: render_diagnosis(found),
        lambda width: as_text(found, every=every, width=width),
        output=output,
        json=json,
    )


def _judged_by(folder: Path) -> str:
    """The task of the artifact in a folder; "" where there is none."""
    from lissom.artifact import read_manifest
    from lissom.errors import FolderError

    try:
        return read_manifest(folder).task
    except FolderError:  # a file of somebody else's
        return ""
