"""`lissom plan RECIPE`: what would run, in which order and form, and why it could not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lissom.cli.options import (
    JsonOption,
    MetricOption,
    ModelOption,
    RecipeArgument,
    TaskOption,
    TokenizerOption,
    read_task,
)

if TYPE_CHECKING:
    from lissom.cli.documents import PlannedStep
    from lissom.search.estimate import Estimated


def command(
    recipe: RecipeArgument,
    model: ModelOption,
    task: TaskOption = None,
    metric: MetricOption = None,
    tokenizer: TokenizerOption = None,
    json: JsonOption = False,
) -> None:
    """Show the steps of a recipe, what each needs, leaves and destroys, and how long it may take.

    Nothing is compressed: the model runs a few times to estimate time and memory.
    """
    from lissom.model import open_model
    from lissom.recipe.document import open_recipe
    from lissom.recipe.plan import plan
    from lissom.search.estimate import estimate

    steps = open_recipe(recipe)
    opened = open_model(model)
    chosen_task = read_task(task, metric, tokenizer, opened)
    planned = plan(steps, form="onnx" if opened.kind == "onnx" else "torch", task=chosen_task)
    estimates = estimate(planned, opened, chosen_task)
    if json:
        from lissom.cli.documents import Plan

        steps_told = tuple(_described(each) for each in estimates)
        typer.echo(Plan(steps=steps_told).model_dump_json(indent=2))
        return
    for number, each in enumerate(estimates, start=1):
        if each.planned.exports:
            typer.echo("   export to ONNX (operator set 21), checked against torch")
        typer.secho(f"{number}. {each.planned.step}", bold=True)
        typer.echo(f"   works on: {_form(each.planned.form)}")
        for name in ("needs", "leaves", "destroys"):
            typer.echo(f"   {name}: {', '.join(getattr(each.planned, name)) or 'nothing'}")
        typer.echo(f"   expected: {each.words}")


def _form(form: str) -> str:
    return "a torch module" if form == "torch" else "an ONNX graph"


def _described(each: Estimated) -> PlannedStep:
    from lissom.cli.documents import PlannedStep

    planned = each.planned
    return PlannedStep(
        technique=planned.step.technique,
        config=dict(planned.step.config),
        form=planned.form,
        needs=tuple(planned.needs),
        leaves=tuple(planned.leaves),
        destroys=tuple(planned.destroys),
        exports=planned.exports,
        seconds=each.seconds,
        memory=each.memory,
    )
