"""What a command found, as its user asked to read it: a page, JSON, or text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel


def tell(
    found: BaseModel,
    page: Callable[[], str],
    text: Callable[[int], str],
    *,
    output: Path | None,
    json: bool,
) -> None:
    """Write the page if a path is given, and print JSON or text of the terminal's width."""
    if output is not None:
        from lissom.artifact import write_text

        write_text(output, page())
    if json:
        typer.echo(found.model_dump_json(indent=2))
        return
    from rich.console import Console

    typer.echo(text(Console().width))
    if output is not None:
        typer.echo(f"page: {output}")
