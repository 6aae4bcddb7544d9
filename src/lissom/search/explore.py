"""The search: build what makes sense for a model, measure each, choose inside the budget."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from lissom.errors import ModelError, RunError
from lissom.model import Model
from lissom.onnx_file import inputs_of, read_onnx
from lissom.recipe.run import Built, run
from lissom.recipe.store import Store
from lissom.report.results import Row, Skipped
from lissom.search.budget import Budget
from lissom.search.candidates import (
    BASELINE,
    Weights,
    left_alone,
    left_out,
    propose,
    weights_of,
)
from lissom.search.choose import nearest, pick, with_front
from lissom.search.effort import Effort, find_effort
from lissom.search.mend import Repairing
from lissom.search.ready import Found, Ready, make_ready
from lissom.search.request import Request
from lissom.search.subset import draw
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
    recipes, skipped = propose(
        weights,
        calibrated=ready.context.calibration is not None,
        judged=ready.judged is not None,
        only=request.techniques,
        effort=effort,
    )
    first = ready.original()
    rows: list[Row] = []
    files: dict[str, Built] = {}
    for recipe in request.track(recipes, "candidates", len(recipes)):
        try:
            built = run(recipe, start, ready.context, store)
            measurement = ready.evaluation.of(built)
        except (ModelError, RunError) as error:
            skipped.append(Skipped(name=recipe.name, why=f"failed: {error.what}"))
            continue
        files[recipe.name] = built
        rows.append(ready.row(recipe.name, recipe, first, measurement))
    by_name = {recipe.name: recipe for recipe in recipes}
    attempt = Repairing(ready, store, first, by_name, files, skipped)
    rows += attempt.of(rows)
    first, *rows = with_front([first, *rows])
    best = pick(rows, first, request.objective)
    rows = [row.model_copy(update={"chosen": row is best}) for row in rows]
    missed = [row for row in rows if row.misses]
    failed = None if best is not None else nearest(missed, ready.budget.excess)
    untried = [] if best is not None else _untried(effort, skipped, weights, ready.budget)
    notes = [*left_alone(weights), *attempt.notes, *untried]
    results = ready.results(first, rows, skipped=skipped, notes=notes, failed=failed)
    return Found(results, ready.prepared.original, files, by_name)


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


def _untried(
    effort: Effort, skipped: Sequence[Skipped], weights: Weights, budget: Budget
) -> list[str]:
    """What to try where nothing fits and the effort left candidates out; none that is too large."""
    limit = budget.most_bytes
    names = [each.name for each in skipped if each.why == left_out(effort)]
    out = [name for name in names if limit is None or _least_bytes(name, weights) <= limit]
    if not out:
        return []
    return [
        f"Not tried with --effort {effort.name}, and perhaps inside the budget: {', '.join(out)}."
    ]


def _least_bytes(name: str, weights: Weights) -> float:
    """What a candidate must take at least: float weights of as many bits as its name says."""
    bits = min(map(int, re.findall(r"\d+", name)), default=1)
    return 0.9 * weights.floats * bits / 32
