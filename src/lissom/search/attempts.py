"""Candidates built and measured one after the other, as far as bounds and time allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from lissom.errors import ModelError, RunError
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe
from lissom.recipe.store import Store
from lissom.report.results import Row, Skipped
from lissom.report.text import duration
from lissom.search.bounds import beaten, least_bytes, too_large, too_slow
from lissom.search.clock import Clock
from lissom.search.cost import Costs
from lissom.search.effort import QUICK
from lissom.search.ready import Ready
from lissom.search.weights import Weights
from lissom.targets.named import DEFAULT as ONNXRUNTIME


@dataclass(frozen=True)
class Turn:
    """A candidate whose turn it is; `name` is what progress shows."""

    recipe: Recipe
    name: str


@dataclass
class Attempts:
    """What one search has tried so far, and what it left out.

    Attributes:
        first: the original, measured.
        clock: the user's limit.
        rows: of the candidates that were measured, in the order they were.
        recipes: of every row, by name.
        files: what was built, by name.
        skipped: what was not tried or failed, with the reason.
        too_large: recipes that were not built for their size.
        late: names of what was not begun for want of time.
    """

    ready: Ready
    store: Store
    first: Row
    weights: Weights
    costs: Costs
    clock: Clock
    skipped: list[Skipped] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    files: dict[str, Built] = field(default_factory=dict)
    too_large: list[Recipe] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    # The first file that was measured is, however long it takes.
    overdue: str = ""

    def of(self, recipes: Sequence[Recipe]) -> None:
        """Try candidates: those that usually win first, of these the cheapest.

        One whose bytes cannot be inside the budget, whose speed is known to be outside, or that
        would not end in time, is left out and told.
        """
        turns = self.ready.request.track(self._turns(recipes), "candidates", len(recipes))
        for turn in turns:
            why = self._why_not(turn.recipe)
            if why is None:
                self.attempt(turn.recipe)
            else:
                self.leave_out(turn.recipe, why)

    def nearest_of_the_large(self) -> None:
        """Where nothing else fits: the smallest of those above the limit on the size, which may be
        what comes nearest to the budget."""
        if self.too_large:
            recipe = min(self.too_large, key=self._least)
            if not self.rows or self._late(self.costs.expected(recipe)) is None:
                self.skipped[:] = [each for each in self.skipped if each.name != recipe.name]
                self.attempt(recipe)

    def attempt(self, recipe: Recipe) -> Row | None:
        """Build and measure one; None where that fails, which is told among the skipped."""
        ready = self.ready
        alone, seconds = not self.rows, self.costs.expected(recipe)
        in_time = seconds <= self.clock.left()
        started = monotonic()
        try:
            built = run(recipe, ready.prepared.built, ready.context, self.store)
            measured = monotonic()
            measurement = ready.evaluation.of(built)
        except (ModelError, RunError) as error:
            self.skipped.append(Skipped(name=recipe.name, why=f"failed: {error.what}"))
            return None
        self.costs.learn(recipe, measured - started, monotonic() - measured)
        if alone and not (in_time and self.clock.left() >= 0):
            self.overdue = recipe.name
        self.files[recipe.name], self.recipes[recipe.name] = built, recipe
        self.rows.append(ready.row(recipe.name, recipe, self.first, measurement))
        return self.rows[-1]

    def no_time_for(self, name: str, seconds: float) -> bool:
        """Whether something that takes so long would not end in time; then it is told."""
        late = self._late(seconds) if self.rows else None
        if late is not None:
            self.late.append(name)
            self.skipped.append(Skipped(name=name, why=late, seconds=seconds))
        return late is not None

    def leave_out(self, recipe: Recipe, why: str) -> None:
        """Tell of a candidate that was not tried, with what is expected of it."""
        self.skipped.append(
            Skipped(
                name=recipe.name,
                why=why,
                bytes=self._least(recipe) or None,
                seconds=self.costs.expected(recipe) if self.clock.limited else None,
            )
        )

    def notes(self) -> list[str]:
        """What the limit on the time made of the search, in sentences."""
        limit = duration(self.clock.limit) if self.clock.limited else ""
        told = []
        if self.overdue:
            told.append(
                f"{limit} were too short for even one candidate: {self.overdue} was measured all "
                "the same."
            )
        if self.late:
            told.append(
                f"In {limit} there was no time for: {', '.join(self.late)}. What is tried in "
                "a limited time depends on how fast this machine is at the moment, so the same "
                "command may choose another file."
            )
        return told

    def _turns(self, recipes: Sequence[Recipe]) -> Iterator[Turn]:
        left = list(recipes)
        while left:
            recipe = min(left, key=self._place)
            left.remove(recipe)
            words = f", {self.clock.words()}" if self.clock.limited else ""
            yield Turn(recipe, f"{recipe.name}{words}")

    def _place(self, recipe: Recipe) -> tuple[bool, bool, float]:
        """Where in the order a candidate stands, given what is measured."""
        assert QUICK.recipes is not None
        return (
            beaten(self._least(recipe), recipe, self.rows),
            recipe.name not in QUICK.recipes,
            self.costs.expected(recipe),
        )

    def _why_not(self, recipe: Recipe) -> str | None:
        budget = self.ready.budget
        large = too_large(self._least(recipe), budget)
        if large is not None:
            self.too_large.append(recipe)
            return large
        # Which files run the same kernels was found out for ONNX Runtime.
        alike = {target.name for target in self.ready.targets} == {ONNXRUNTIME}
        slow = too_slow(recipe, self.rows, self.recipes, budget) if alike else None
        if slow is not None:
            return slow
        # Whatever the limit on the time, one is measured.
        late = self._late(self.costs.expected(recipe)) if self.rows else None
        if late is not None:
            self.late.append(recipe.name)
        return late

    def _late(self, seconds: float) -> str | None:
        """Why something that takes so long would not end in time, or None."""
        if not self.clock.limited or seconds <= self.clock.left():
            return None
        return f"not begun: takes about {duration(seconds)}, {self.clock.words()}"

    def _least(self, recipe: Recipe) -> int:
        return least_bytes(recipe, self.weights)
