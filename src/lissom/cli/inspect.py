"""`lissom inspect MODEL`: what a model holds, and what can be compressed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from lissom.cli.options import BatchOption, JsonOption, QuietOption, ShapeOption, read_settings

TRAINABLE = "as a torch module it can also be pruned and distilled: see `lissom techniques`"


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="An .onnx file, a Hugging Face folder, or file.py:factory."
        ),
    ],
    batch: BatchOption = 1,
    shape: ShapeOption = None,
    every: Annotated[bool, typer.Option("--all", help="List every layer.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell what MODEL holds: ports, operators, weights by layer, work, what can be compressed."""
    from lissom.cli.progress import watched
    from lissom.model import open_model
    from lissom.report.inspect import inspect
    from lissom.report.inspect_text import as_text

    settings = read_settings(batch, shape, threads=1, seconds=1.0, processes=1)
    opened = open_model(model)
    with tempfile.TemporaryDirectory(prefix="lissom-inspect-") as folder:
        if opened.path is not None:
            found = inspect(opened.path, settings)
        else:
            from lissom.nn.export import export

            with watched(quiet or json) as track:
                made = export(opened, Path(folder), track=track)
            name = f"{opened.name}, exported to ONNX"
            found = inspect(made.path, settings, name=name, notes=(*made.notes, TRAINABLE))
    if json:
        typer.echo(found.model_dump_json(indent=2))
        return
    from rich.console import Console

    typer.echo(as_text(found, every=every, width=Console().width))
