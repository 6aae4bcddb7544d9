"""`lissom report OUT`: the page again, from the numbers that a run left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lissom.cli.options import JsonOption


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder that compress or run wrote.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The page's file; report.html in OUT if not given."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the page of OUT anew from its results.json and its manifest; nothing is measured."""
    from lissom.artifact import REPORT, write_text
    from lissom.report.page import render_page
    from lissom.report.stored import read_stored

    stored = read_stored(folder)
    page = output or folder / REPORT
    write_text(page, render_page(stored.results, stored.manifest))
    if json:
        from lissom.cli.documents import Rebuilt

        typer.echo(Rebuilt(report=str(page), results=stored.results).model_dump_json(indent=2))
        return
    typer.echo(stored.results.sentence)
    typer.echo(f"report: {page}")
