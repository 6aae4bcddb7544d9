"""What a command found, as its user asked to read it: a page, JSON, or text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lissom.errors import FolderError

if TYPE_CHECKING:
    from pydantic import BaseModel


def check_page(output: Path | None) -> None:
    """Refuse where no page can be written, before the work that it is to tell of.

    Raises:
        FolderError: the path is a folder, or lies in none that may be written to.
    """
    if output is None:
        return
    folder = output.absolute().parent
    if output.is_dir():
        why = "it is a folder"
    elif not folder.is_dir():
        why = "there is no such folder"
    elif not os.access(folder, os.W_OK):
        why = "the folder may not be written to"
    else:
        return
    raise FolderError(
        f"{output.name or output} cannot be written: {why}",
        where=str(output if output.is_dir() else output.parent),
        fix="name a file in a folder that is there with -o, such as -o page.html",
    )


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
