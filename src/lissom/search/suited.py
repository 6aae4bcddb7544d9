"""Which formats a recipe gives layers, and what a runtime does not run fast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from lissom.recipe.schema import Recipe, Step
from lissom.report.results import Skipped
from lissom.tables import FORMATS, Format
from lissom.targets.target import Target


def formats_of(recipe: Recipe) -> set[Format]:
    """The formats that a recipe's steps bring, besides float32."""
    named = {name for step in recipe.steps for name in _of(step)}
    return {cast(Format, name) for name in named & {*FORMATS}}


def _of(step: Step) -> Iterable[str]:
    config = step.config
    if step.technique == "quantize.float16":
        return ("float16",)
    if step.technique == "quantize.static":
        return (f"w{config.get('weight_bits', 8)}a8",)
    if step.technique == "quantize.dynamic":
        return ("w8a8 dynamic",)
    if step.technique == "quantize.weight_only" and config.get("layers", True):
        return (f"w{config.get('bits', 4)}",)
    if step.technique == "quantize.mixed":
        return (*config.get("layers", {}).values(), config.get("default", "float32"))
    return ()


def without_slow(
    recipes: Sequence[Recipe], targets: Sequence[Target]
) -> tuple[list[Recipe], list[Skipped]]:
    """The recipes that every target runs well, and the others with the reason."""
    kept: list[Recipe] = []
    skipped: list[Skipped] = []
    for recipe in recipes:
        formats = sorted(formats_of(recipe))
        reasons = (why for each in targets for f in formats if (why := each.slow(f)) is not None)
        why = next(reasons, None)
        if why is None:
            kept.append(recipe)
        else:
            skipped.append(Skipped(name=recipe.name, why=why))
    return kept, skipped
