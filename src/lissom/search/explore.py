"""The search: build what makes sense for a model, measure each, choose inside the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from time import monotonic

from lissom.model import Model
from lissom.onnx_file import inputs_of, read_onnx
from lissom.recipe.run import run
from lissom.recipe.schema import Recipe
from lissom.recipe.store import Store
from lissom.report import text
from lissom.report.results import Row, Skipped
from lissom.search.attempts import Attempts
from lissom.search.budget import Budget
from lissom.search.candidates import BASELINE, left_alone, left_out, propose
from lissom.search.choose import nearest, pick, surer, with_front
from lissom.search.cost import costs_of
from lissom.search.effort import Effort, find_effort
from lissom.search.mend import Repairing
from lissom.search.mixed import Mixing
from lissom.search.ready import Found, Ready, make_ready
from lissom.search.request import MIXED, Request
from lissom.search.subset import draw
from lissom.search.suited import without_slow
from lissom.search.weights import weights_of
from lissom.task import Task


def search(model: Model, task: Task | None, request: Request, store: Store) -> Found:
    """Build, measure and choose.

    Everything that can be wrong with the request is refused before the first candidate is built;
    a candidate that fails is reported among the skipped and the others go on.

    Raises:
        LissomError: the model, the task or the request is wrong.
    """
    effort = find_effort(request.effort)
    ready = _judged_on_some(make_ready(model, task, request, store), effort)
    start = ready.prepared.built
    # Counted after the first step, which finds weights in constants and folded expressions.
    first_step = run(BASELINE, start, ready.context, store).path
    weights = weights_of(read_onnx(first_step, check_weights=False))
    only = [name for name in request.techniques if name != MIXED]
    recipes: list[Recipe] = []
    skipped: list[Skipped] = []
    if only or not request.techniques:
        recipes, skipped = propose(
            weights,
            calibrated=ready.context.calibration is not None,
            judged=ready.judged is not None,
            only=only,
            effort=effort,
        )
    if not request.techniques:
        recipes, slow = without_slow(recipes, ready.targets)
        skipped += slow
    started = monotonic()
    first = ready.original()
    costs = costs_of(ready, first, weights.floats, monotonic() - started)
    attempts = Attempts(ready, store, first, weights, costs, request.clock, skipped)
    attempts.of(recipes)
    repairing = Repairing(attempts)
    repairing.of(_as_proposed(attempts.rows, recipes))
    mixing = Mixing(attempts)
    if effort.mixed:
        mixing.of()
    if pick(attempts.rows, first, request.objective) is None:
        attempts.nearest_of_the_large()
    first, *rows = with_front([first, *_as_proposed(attempts.rows, recipes)])
    best = pick(rows, first, request.objective)
    rows = [row.model_copy(update={"chosen": row is best}) for row in rows]
    missed = [row for row in rows if row.misses]
    failed = None if best is not None else nearest(missed, ready.budget.excess)
    untried = [] if best is not None else _untried(effort, skipped, ready.budget)
    sure = surer(rows, first, request.objective, best)
    notes = [*left_alone(weights), *repairing.notes, *mixing.notes, *untried, *attempts.notes()]
    notes = notes if sure is None else [_for_certain(sure), *notes]
    results = ready.results(first, rows, skipped=skipped, notes=notes, failed=failed)
    found = {"mixed": tuple(mixing.files), "predicted_front": mixing.front}
    results = results.model_copy(update=found)
    return Found(results, ready.prepared.original, attempts.files, attempts.recipes)


def _for_certain(row: Row) -> str:
    """Another row than the chosen one, whose limits are proven, in words."""
    measured = row.measurement
    told = text.size(measured.footprint.bytes)
    if measured.speed is not None:
        told += f", {text.ratio(measured.speed.ratio.value)} the speed"
    return f"Inside every limit for certain, its intervals too: {row.name} ({told})."


def _as_proposed(rows: Sequence[Row], recipes: Sequence[Recipe]) -> list[Row]:
    """In the order of the proposals, which does not hang on times; then what came after them."""
    places = {recipe.name: place for place, recipe in enumerate(recipes)}
    return sorted(rows, key=lambda row: places.get(row.name, len(places)))


def _judged_on_some(ready: Ready, effort: Effort) -> Ready:
    """With as many validation samples as the effort judges by, and a note that says so."""
    task, request = ready.evaluation.task, ready.request
    if task is None or effort.samples is None:
        return ready
    inputs = inputs_of(ready.prepared.original.path)
    some = draw(task, inputs, effort.samples, seed=request.seed, track=request.track)
    if some is None:
        return ready
    note = (
        f"Judged on {some.judged:,} of the {some.total:,} validation samples, drawn at random "
        f"(--effort {effort.name}); the intervals are those of {some.judged:,} samples."
    )
    return dataclasses.replace(
        ready,
        evaluation=dataclasses.replace(ready.evaluation, task=some.task),
        warnings=(*ready.warnings, note),
    )


def _untried(effort: Effort, skipped: Sequence[Skipped], budget: Budget) -> list[str]:
    """What to try where nothing fits and the effort left candidates out; none that is too large."""
    limit = budget.most_bytes
    found = [each for each in skipped if each.why == left_out(effort)]
    out = [each.name for each in found if limit is None or (each.bytes or 0) <= limit]
    if not out:
        return []
    return [
        f"Not tried with --effort {effort.name}, and perhaps inside the budget: {', '.join(out)}."
    ]
