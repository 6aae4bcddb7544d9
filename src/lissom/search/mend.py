"""Repairs within a search: what the diagnosis of a file advises, built, measured and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lissom.batches import Batches
from lissom.errors import LissomError
from lissom.report.results import Row, Skipped
from lissom.report.text import drop
from lissom.search.attempts import Attempts
from lissom.search.choose import pick
from lissom.search.repair import repairable, repairs

# Files that are repaired in one search.
MOST = 2


@dataclass
class Repairing:
    """The repairs of one search: rows are added to its attempts, sentences kept here."""

    attempts: Attempts
    notes: list[str] = field(default_factory=list)

    def of(self, rows: Sequence[Row]) -> None:
        """Repair the files that lose too much and would be chosen if they did not."""
        calibration = self.attempts.ready.context.calibration
        if calibration is None:
            return
        for row in repairable(rows, self.attempts.recipes)[:MOST]:
            if self._wanted(row):
                self._repair(row, calibration)

    def _repair(self, row: Row, calibration: Batches) -> None:
        """Try one thing after another on one file until it fits."""
        attempts = self.attempts
        name = f"{row.name}, repaired"
        if attempts.no_time_for(name, attempts.costs.again(attempts.recipes[row.name])):
            return
        request = attempts.ready.request
        tries = repairs(
            attempts.recipes[row.name],
            attempts.files[row.name],
            attempts.ready.prepared.original,
            calibration,
            attempts.store,
            allowed=request.techniques,
            track=request.track,
        )
        try:
            for count, repair in enumerate(tries, start=1):
                recipe = repair.recipe
                if count > 1:
                    recipe = recipe.model_copy(update={"name": f"{recipe.name} {count}"})
                if attempts.no_time_for(recipe.name, attempts.costs.expected(recipe)):
                    return
                tried = attempts.attempt(recipe)
                if tried is None:
                    return
                self.notes.append(_gained(row, tried, repair.why))
                if not tried.misses:
                    return
        except LissomError as error:
            attempts.skipped.append(Skipped(name=name, why=f"failed: {error.what}"))

    def _wanted(self, row: Row) -> bool:
        """Whether a file would be chosen if it did not lose too much."""
        attempts = self.attempts
        fitting = row.model_copy(update={"misses": ()})
        others = [fitting if each is row else each for each in attempts.rows]
        return pick(others, attempts.first, attempts.ready.request.objective) is fitting


def _gained(plain: Row, repaired: Row, why: Sequence[str]) -> str:
    """What was done and what it brought, in a sentence or two."""
    before, after = plain.measurement.quality, repaired.measurement.quality
    assert before is not None and after is not None
    reasons = "; ".join(why)
    return (
        f"{plain.name} lost {drop(before)}{' and was diagnosed: ' * bool(why)}{reasons}. "
        f"{repaired.name} loses {drop(after)}."
    )
