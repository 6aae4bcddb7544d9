"""Follow a recipe: run its steps in order and measure what each of them cost and bought."""

from __future__ import annotations

from pathlib import Path

from lissom.model import Model
from lissom.recipe.plan import plan
from lissom.recipe.run import Built
from lissom.recipe.schema import Recipe
from lissom.recipe.stages import stages
from lissom.recipe.store import Store
from lissom.report.results import Row
from lissom.search.ready import Found, make_ready
from lissom.search.request import Request
from lissom.task import Task


def follow(
    recipe: Recipe, model: Model, task: Task | None, request: Request, store: Store
) -> Found:
    """Run a recipe, measuring the original and what every step leaves.

    The last stage is chosen if it is inside the budget.

    Raises:
        LissomError: the recipe cannot run on this model and task, or a step fails; what is
            finished is kept.
    """
    plan(recipe, form="onnx" if model.kind == "onnx" else "torch", task=task)
    ready = make_ready(model, task, request, store)
    first = ready.original()
    rows: list[Row] = []
    files: dict[str, Built] = {}
    recipes: dict[str, Recipe] = {}
    modules: dict[str, Path] = {}
    notes: list[str] = []
    made = stages(recipe, model, ready.prepared, ready.context, store)
    for number, stage in enumerate(request.track(made, recipe.name, len(recipe.steps)), start=1):
        name = f"{number} {stage.step.technique}"
        so_far = Recipe(name=recipe.name, steps=recipe.steps[:number])
        rows.append(ready.row(name, so_far, first, ready.evaluation.of(stage.built)))
        files[name], recipes[name] = stage.built, so_far
        if stage.torch is not None:
            modules[name] = stage.torch
        notes += [f"{name}: {note}" for note in stage.notes]
    last = rows[-1]
    rows[-1] = last.model_copy(update={"chosen": not last.misses})
    failed = last if last.misses else None
    results = ready.results(first, rows, kind="recipe", notes=notes, failed=failed)
    return Found(results, ready.prepared.original, files, recipes, modules)
