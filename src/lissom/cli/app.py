"""The command `lissom`: one file per command, errors on one screen, exit codes as documented."""

from __future__ import annotations

import errno
import json
import sys
from typing import Any

import typer

from lissom._version import __version__
from lissom.cli import (
    check,
    compare,
    compress,
    diagnose,
    doctor,
    inspect,
    measure,
    pack,
    plan,
    recipes,
    report,
    run,
    sensitivity,
    techniques,
    unpack,
)
from lissom.errors import FolderError, LissomError, RunError

# What the exit code says, in every command's help.
EXIT_CODES = "Exit code 0: done, inside the budget. 1: done, nothing fits it. 2: wrong request."

WRONG_REQUEST, INTERRUPTED = 2, 130
STOPPED = "stopped; finished steps are kept, and the same command goes on from them"
# What typer raises for an unknown option, a missing argument, a value out of range.
USAGE_ERROR: Any = typer.BadParameter.__base__

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
app.command("run", epilog=EXIT_CODES)(run.command)
app.command(
    "check",
    epilog="Exit code 0: it can be used here and keeps its promises. 1: not so. 2: wrong request.",
)(check.command)
app.command("plan", epilog="Exit code 0: it can run. 2: it cannot, or the request was wrong.")(
    plan.command
)
app.command("inspect", epilog="Exit code 0: done. 2: wrong request.")(inspect.command)
app.command("report", epilog="Exit code 0: done. 2: wrong request.")(report.command)
app.command("compare", epilog="Exit code 0: done. 2: wrong request.")(compare.command)
app.command("diagnose", epilog="Exit code 0: done. 2: wrong request.")(diagnose.command)
app.command("sensitivity", epilog="Exit code 0: done. 2: wrong request.")(sensitivity.command)
app.command("doctor", epilog="Exit code 0: done. 2: wrong request.")(doctor.command)
app.command("pack", epilog="Exit code 0: done. 2: wrong request.")(pack.command)
app.command("unpack", epilog="Exit code 0: done. 2: wrong request, or a damaged archive.")(
    unpack.command
)
app.command("recipes")(recipes.list_recipes)
app.command("schema")(recipes.print_schema)
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
    as_json = "--json" in sys.argv[1:]
    try:
        # Not standalone, so that typer reports usage errors and Ctrl-C to us.
        code = app(standalone_mode=False)
    except USAGE_ERROR as error:
        error.show()
        code = WRONG_REQUEST
        if as_json:
            print_error(error.format_message(), None, "see --help")
    except (LissomError, OSError, MemoryError) as error:
        told = error if isinstance(error, LissomError) else _nothing_left(error)
        show_error(told)
        code = WRONG_REQUEST
        if as_json:
            print_error(told.what, told.where, told.fix)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        typer.echo(STOPPED, err=True)
        if as_json:
            print_error("stopped", None, "the same command goes on from the finished steps")
    sys.exit(code or 0)


def show_error(error: LissomError) -> None:
    """Print what is wrong, where, and how to fix it, on stderr."""
    typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(error.what, err=True)
    if error.where:
        typer.echo(f"  where: {_indented(error.where)}", err=True)
    if error.fix:
        typer.echo(f"  fix:   {_indented(error.fix)}", err=True)


def print_error(what: str, where: str | None, fix: str | None) -> None:
    """The one JSON document of a command that failed, on stdout."""
    error = {"what": what, "where": where, "fix": fix}
    typer.echo(json.dumps({"schema_version": 1, "error": error}, indent=2))


def _nothing_left(error: OSError | MemoryError) -> LissomError:
    """Full memory, or a full disk, of temporary files for example; any other error of the system
    is a bug."""
    if isinstance(error, MemoryError):
        return RunError(
            f"there is not enough memory{': ' * bool(str(error))}{error}",
            fix="lower what is held at a time: fewer samples in a batch (--task ...,batch=8; "
            "--batch of a timed run), a shorter --shape, or fewer samples in all",
        )
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return FolderError(
        f"cannot write: {error.strerror}",
        where=error.filename and str(error.filename),
        fix="free some space; the same command then goes on from the finished steps",
    )


def _indented(text: str) -> str:
    return text.replace("\n", "\n         ")


if __name__ == "__main__":
    main()
