"""The search: build what makes sense for a model, measure each, choose inside the budget."""

from __future__ import annotations

from lissom.errors import ModelError, RunError
from lissom.model import Model
from lissom.onnx_file import read_onnx
from lissom.recipe.run import Built, run
from lissom.recipe.store import Store
from lissom.report.results import Row, Skipped
from lissom.search.candidates import BASELINE, propose, weights_of
from lissom.search.choose import nearest, pick, with_front
from lissom.search.ready import Found, make_ready
from lissom.search.request import Request
from lissom.task import Task


def search(model: Model, task: Task | None, request: Request, store: Store) -> Found:
    """Build, measure and choose.

    Everything that can be wrong with the request is refused before the first candidate is built;
    a candidate that fails is reported among the skipped and the others go on.

    Raises:
        LissomError: the model, the task or the request is wrong.
    """
    ready = make_ready(model, task, request, store)
    original = ready.prepared.built
    recipes, skipped = propose(
        # Counted after the first step, which finds weights in constants and folded expressions.
        weights_of(
            read_onnx(run(BASELINE, original, ready.context, store).path, check_weights=False)
        ),
        calibrated=ready.context.calibration is not None,
        judged=ready.judged is not None,
        only=request.techniques,
    )
    first = ready.original()
    rows: list[Row] = []
    files: dict[str, Built] = {}
    for recipe in request.track(recipes, "candidates", len(recipes)):
        try:
            built = run(recipe, original, ready.context, store)
            measurement = ready.evaluation.of(built)
        except (ModelError, RunError) as error:
            skipped.append(Skipped(name=recipe.name, why=f"failed: {error.what}"))
            continue
        files[recipe.name] = built
        rows.append(ready.row(recipe.name, recipe, first, measurement))
    first, *rows = with_front([first, *rows])
    best = pick(rows, first, request.objective)
    rows = [row.model_copy(update={"chosen": row is best}) for row in rows]
    missed = [row for row in rows if row.misses]
    failed = None if best is not None else nearest(missed, ready.budget.excess)
    results = ready.results(first, rows, skipped=skipped, failed=failed)
    return Found(results, original, files, {recipe.name: recipe for recipe in recipes})
