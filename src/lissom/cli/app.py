"""The command `lissom`: one file per command, errors on one screen, exit codes as documented."""

from __future__ import annotations

import sys

import typer

from lissom._version import __version__
from lissom.cli import compress, measure, techniques
from lissom.errors import LissomError

# What the exit code says, in every command's help.
EXIT_CODES = "Exit code 0: done, inside the budget. 1: done, nothing fits it. 2: wrong request."

app = typer.Typer(
    name="lissom",
    help="Make a trained neural network smaller and faster, and prove it.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("compress", epilog=EXIT_CODES)(compress.command)
app.command("measure", epilog="Exit code 0: done. 2: wrong request.")(measure.command)
app.command("techniques")(techniques.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lissom {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Make a trained neural network smaller and faster, and prove it."""


def main() -> None:
    """Run the command line; an error a user can cause never shows a traceback."""
    try:
        app()
    except LissomError as error:
        show_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo(
            "stopped; finished steps are kept, and the same command goes on from them", err=True
        )
        sys.exit(130)


def show_error(error: LissomError) -> None:
    """Print what is wrong, where, and how to fix it, on stderr."""
    typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(error.what, err=True)
    if error.where:
        typer.echo(f"  where: {error.where}", err=True)
    if error.fix:
        typer.echo(f"  fix:   {error.fix}", err=True)


if __name__ == "__main__":
    main()
