"""`lissom compare OUT1 OUT2`: two results side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lissom.cli.options import JsonOption


def command(
    first: Annotated[
        Path, typer.Argument(metavar="OUT1", help="A folder that compress or run wrote.")
    ],
    second: Annotated[Path, typer.Argument(metavar="OUT2", help="Another one.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the comparison as a page too.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Lay two results side by side: size, latency, quality, recipes and machines.

    Nothing is measured again. Latencies of different machines are shown and not compared.
    """
    from lissom.report.compare import compare
    from lissom.report.stored import read_stored

    comparison = compare(read_stored(first), read_stored(second))
    if output is not None:
        from lissom.artifact import write_text
        from lissom.report.compare_page import render_comparison

        write_text(output, render_comparison(comparison))
    if json:
        typer.echo(comparison.model_dump_json(indent=2))
        return
    from rich.console import Console

    from lissom.report.compare_text import as_text

    typer.echo(as_text(comparison, Console().width))
    if output is not None:
        typer.echo(f"page: {output}")
