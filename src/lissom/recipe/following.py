"""Steps that are judged by the quantization behind them are told what it is."""

from __future__ import annotations

from lissom.quantize.following import Following, following_of
from lissom.recipe.schema import Recipe, Step
from lissom.technique import find_technique


def told(recipe: Recipe) -> Recipe:
    """The recipe with such steps set to the next that quantizes; what they set themselves stays.

    Raises:
        RequestError: a technique or a setting is unknown.
    """
    steps = tuple(_told(step, recipe.steps[at + 1 :]) for at, step in enumerate(recipe.steps))
    return recipe.model_copy(update={"steps": steps})


def _told(step: Step, behind: tuple[Step, ...]) -> Step:
    entry = find_technique(step.technique)
    if not issubclass(entry.config, Following):
        return step
    for other in behind:
        found = following_of(other.settings())
        if found is not None:
            kept = {
                name: value for name, value in found.items() if name in entry.config.model_fields
            }
            return Step(technique=step.technique, config=kept | step.config)
    return step
