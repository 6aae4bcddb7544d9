"""`lissom recipes` lists what is shipped; `lissom schema` describes recipe files to editors."""

from __future__ import annotations

import json as json_format

import typer

from lissom.cli.options import JsonOption


def list_recipes(json: JsonOption = False) -> None:
    """List the recipes that come with lissom, with their steps."""
    from lissom.recipe.document import shipped

    recipes = shipped()
    if json:
        found = [recipe.model_dump(mode="json") for recipe in recipes.values()]
        typer.echo(json_format.dumps(found, indent=2))
        return
    for name, recipe in recipes.items():
        typer.secho(name, bold=True)
        for step in recipe.steps:
            typer.echo(f"  {step}")


def print_schema() -> None:
    """Print the JSON Schema of recipe files, for editors."""
    from lissom.recipe.document import json_schema

    typer.echo(json_format.dumps(json_schema(), indent=2))
