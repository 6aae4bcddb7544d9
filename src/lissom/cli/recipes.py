"""`lissom recipes` lists what is shipped; `lissom schema` describes recipes and JSON output."""

from __future__ import annotations

import json as json_format
from typing import Annotated

import typer

from lissom.cli.options import JsonOption


def list_recipes(json: JsonOption = False) -> None:
    """List the recipes that come with lissom, with their steps."""
    from lissom.recipe.document import shipped

    recipes = shipped()
    if json:
        from lissom.cli.documents import Recipes

        typer.echo(Recipes(recipes=tuple(recipes.values())).model_dump_json(indent=2))
        return
    for name, recipe in recipes.items():
        typer.secho(name, bold=True)
        for step in recipe.steps:
            typer.echo(f"  {step}")


def print_schema(
    document: Annotated[
        str,
        typer.Argument(
            metavar="[DOCUMENT]",
            help="recipe (a recipe file, for editors), or a JSON output: results, check, compare, "
            "diagnose, doctor, error, inspect, manifest, pack, plan, recipes, report, sensitivity, "
            "techniques or unpack.",
        ),
    ] = "recipe",
) -> None:
    """Print the JSON Schema of recipe files, or of what commands print with --json."""
    if document == "recipe":
        from lissom.recipe.document import json_schema

        found = json_schema()
    else:
        from lissom.cli.documents import schema_of

        found = schema_of(document)
    typer.echo(json_format.dumps(found, indent=2))
