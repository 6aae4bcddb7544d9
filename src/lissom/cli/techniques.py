"""`lissom techniques`: what there is, what it needs, and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from pydantic_core import to_jsonable_python

from lissom.cli.options import JsonOption

if TYPE_CHECKING:
    from lissom.technique import Technique


def command(json: JsonOption = False) -> None:
    """List the techniques, what each needs, and its settings with their defaults."""
    from lissom.recipe import catalog
    from lissom.technique import TECHNIQUES

    assert catalog.__all__
    entries = [_described(entry) for _, entry in sorted(TECHNIQUES.items())]
    if json:
        from lissom.cli.documents import Techniques

        typer.echo(Techniques(techniques=entries).model_dump_json(indent=2))
        return
    for entry in entries:
        typer.secho(entry["name"], bold=True)
        typer.echo(f"  {entry['summary']}")
        typer.echo(f"  needs: {', '.join(entry['needs']) or 'nothing'}")
        settings = ", ".join(f"{name}={value!r}" for name, value in entry["settings"].items())
        typer.echo(f"  settings: {settings or 'none'}")


def _described(entry: Technique) -> dict[str, Any]:
    return {
        "name": entry.name,
        "form": entry.form,
        "summary": entry.summary,
        "needs": ["depends on its settings"] if callable(entry.needs) else sorted(entry.needs),
        "settings": {
            name: to_jsonable_python(field.get_default(call_default_factory=True))
            for name, field in entry.config.model_fields.items()
        },
    }
