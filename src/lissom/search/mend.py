"""Repairs within a search: what the diagnosis of a file advises, built, measured and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lissom.batches import Batches
from lissom.errors import ModelError, RequestError, RunError
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe
from lissom.recipe.store import Store
from lissom.report.results import Row, Skipped
from lissom.report.text import drop
from lissom.search.choose import pick
from lissom.search.ready import Ready
from lissom.search.repair import Repair, repairable, repairs

# Files that are repaired in one search.
MOST = 2


@dataclass
class Repairing:
    """The repairs of one search: rows of what was tried, and sentences about it."""

    ready: Ready
    store: Store
    first: Row
    recipes: dict[str, Recipe]
    files: dict[str, Built]
    skipped: list[Skipped]
    notes: list[str] = field(default_factory=list)

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """Repair the files that lose too much and would be chosen if they did not."""
        calibration = self.ready.context.calibration
        found: list[Row] = []
        if calibration is None:
            return found
        for row in repairable(rows, self.recipes)[:MOST]:
            if self._wanted(row, [*rows, *found]):
                found += self._repaired(row, calibration)
        return found

    def _repaired(self, row: Row, calibration: Batches) -> list[Row]:
        """What was tried on one file; the last of it may fit."""
        request = self.ready.request
        found: list[Row] = []
        tries = repairs(
            self.recipes[row.name],
            self.files[row.name],
            self.ready.prepared.original,
            calibration,
            allowed=request.techniques,
            track=request.track,
        )
        try:
            for repair in tries:
                tried = self._measured(repair, len(found))
                self.notes.append(_gained(row, tried, repair.why))
                found.append(tried)
                if not tried.misses:
                    break
        except (ModelError, RequestError, RunError) as error:
            self.skipped.append(Skipped(name=f"{row.name}, repaired", why=f"failed: {error.what}"))
        return found

    def _wanted(self, row: Row, rows: Sequence[Row]) -> bool:
        """Whether a file would be chosen if it did not lose too much."""
        fitting = row.model_copy(update={"misses": ()})
        others = [fitting if each is row else each for each in rows]
        return pick(others, self.first, self.ready.request.objective) is fitting

    def _measured(self, repair: Repair, before: int) -> Row:
        ready = self.ready
        recipe = repair.recipe
        if before:
            recipe = recipe.model_copy(update={"name": f"{recipe.name} {before + 1}"})
        built = run(recipe, ready.prepared.built, ready.context, self.store)
        self.recipes[recipe.name], self.files[recipe.name] = recipe, built
        return ready.row(recipe.name, recipe, self.first, ready.evaluation.of(built))


def _gained(plain: Row, repaired: Row, why: Sequence[str]) -> str:
    """What was done and what it brought, in a sentence or two."""
    before, after = plain.measurement.quality, repaired.measurement.quality
    assert before is not None and after is not None
    reasons = "; ".join(why)
    return (
        f"{plain.name} lost {drop(before)}{' and was diagnosed: ' * bool(why)}{reasons}. "
        f"{repaired.name} loses {drop(after)}."
    )
