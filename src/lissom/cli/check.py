"""`lissom check OUT`: is the artifact whole, and does it compute right on this machine?"""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from lissom.cli.options import JsonOption


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder that compress or run wrote.")
    ],
    json: JsonOption = False,
) -> None:
    """Check the artifact in OUT: its files, one example, and its sums on this machine."""
    from rich.console import Console

    from lissom.report.text import wrapped
    from lissom.search.check import check

    found = check(folder)
    if json:
        typer.echo(json_format.dumps(found.as_json(), indent=2))
    else:
        width = Console().width
        lines = (part for line in str(found).splitlines() for part in wrapped(line, width))
        typer.echo("\n".join(lines))
    if not found.passed:
        raise typer.Exit(1)
