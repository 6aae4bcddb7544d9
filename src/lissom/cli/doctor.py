"""`lissom doctor MODEL`: what runs in integers here, what fell back to float, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from lissom.cli.options import BatchOption, JsonOption, ShapeOption, ThreadsOption, read_settings
from lissom.errors import RequestError


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An .onnx file, lissom's or anyone's.")
    ],
    batch: BatchOption = 1,
    shape: ShapeOption = None,
    threads: ThreadsOption = 1,
    every: Annotated[bool, typer.Option("--all", help="List every node.")] = False,
    json: JsonOption = False,
) -> None:
    """Tell which nodes of MODEL run in integers, which fell back to float, and why."""
    from lissom.model import open_model
    from lissom.report.doctor import examine
    from lissom.report.doctor_text import as_text

    settings = read_settings(batch, shape, threads, seconds=1.0, processes=1)
    opened = open_model(model)
    if opened.path is None:
        raise RequestError(
            f"{model} is not an .onnx file, and only a file that runs can be examined",
            where=model,
            fix="export it first: `lissom run` and `lissom compress` save the .onnx they make",
        )
    found = examine(opened.path, settings)
    if json:
        typer.echo(found.model_dump_json(indent=2))
        return
    from rich.console import Console

    typer.echo(as_text(found, every=every, width=Console().width))
