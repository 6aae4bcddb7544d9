"""The search: build what makes sense for a model, measure each, choose inside the budget."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lissom._version import __version__
from lissom.errors import ModelError, RequestError, RunError, unknown
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Measurement, Settings
from lissom.measurement.whole import first_batch
from lissom.model import Model
from lissom.onnx_file import inputs_of, read_onnx
from lissom.recipe import catalog
from lissom.recipe.prepare import prepare
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe
from lissom.recipe.store import Store
from lissom.report.results import Results, Row, Skipped
from lissom.report.text import sentence
from lissom.search.budget import Budget
from lissom.search.candidates import BASELINE, propose, weights_of
from lissom.search.choose import OBJECTIVES, Objective, nearest, pick, size_flags, with_front
from lissom.search.evaluate import Evaluation
from lissom.search.snippet import snippet_for
from lissom.sessions import open_session
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.task import Task
from lissom.technique import TECHNIQUES, Context, Track, silent

assert catalog.__all__, "importing the catalog fills the table of techniques"

TARGETS = {"onnxruntime": onnxruntime_target}
ORIGINAL = "original"


@dataclass(frozen=True)
class Request:
    """What `compress` was asked for besides the model and the task.

    Attributes:
        techniques: keep to these; empty tries all that make sense.
    """

    target: str = "onnxruntime"
    budget: Budget = field(default_factory=Budget)
    objective: Objective = "balanced"
    settings: Settings = field(default_factory=Settings)
    techniques: Sequence[str] = ()
    seed: int = 0
    track: Track = silent

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise unknown("target", self.target, TARGETS)
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
        if isinstance(self.techniques, str):
            object.__setattr__(self, "techniques", (self.techniques,))
        for name in self.techniques:
            if name not in TECHNIQUES:
                raise unknown("technique", name, TECHNIQUES)
        for name in ("batch", "threads", "processes", "seconds"):
            value = getattr(self.settings, name)
            if not 0 < value < math.inf:
                raise RequestError(
                    f"the settings ask for {name}={value}", fix="give a number above zero"
                )


@dataclass(frozen=True)
class Found:
    """What a search found: the record of everything, and the files of every row."""

    results: Results
    original: Built
    files: dict[str, Built]
    recipes: dict[str, Recipe]


def search(model: Model, task: Task | None, request: Request, store: Store) -> Found:
    """Build, measure and choose.

    Everything that can be wrong with the request is refused before the first candidate is built;
    a candidate that fails is reported among the skipped and the others go on.

    Raises:
        LissomError: the model, the task or the request is wrong.
    """
    started = time.monotonic()
    target = TARGETS[request.target]()
    judged = task if task is not None and task.validation is not None else None
    _check_budget(request.budget, judged)
    prepared = prepare(model, store, request.track)
    original = prepared.built
    inputs = inputs_of(original.path)
    warnings: tuple[str, ...] = ()
    if task is not None:
        task = task.bind([spec.name for spec in inputs])
        warnings = task.check(inputs)
        judged = task if judged is not None else None
    feeds = example_feeds(inputs, request.settings, first_batch(task, inputs), request.seed)
    read_onnx(original.path)  # looks at the weights too, which an export may have made NaN
    open_session(original.path)
    context = Context(
        exact_weight_bits=target.exact_weight_bits,
        calibration=task.calibration if task is not None else None,
        seed=request.seed,
        track=request.track,
    )
    recipes, skipped = propose(
        # Counted after the first step, which finds weights in constants and folded expressions.
        weights_of(read_onnx(run(BASELINE, original, context, store).path, check_weights=False)),
        calibrated=context.calibration is not None,
        judged=judged is not None,
        only=request.techniques,
    )
    evaluation = Evaluation(
        original=original,
        feeds=feeds,
        task=judged,
        settings=request.settings,
        machine=f"{target.machine} {target.version}",
        seed=request.seed,
        store=store,
        track=request.track,
    )
    first = Row(name=ORIGINAL, steps=(), measurement=evaluation.of_original())
    budget = _with_default_drop(request.budget, judged)
    rows: list[Row] = []
    files: dict[str, Built] = {}
    for recipe in request.track(recipes, "candidates", len(recipes)):
        try:
            built = run(recipe, original, context, store)
            measurement = evaluation.of(built)
        except (ModelError, RunError) as error:
            skipped.append(Skipped(name=recipe.name, why=f"failed: {error.what}"))
            continue
        files[recipe.name] = built
        rows.append(_row(recipe, first, budget, measurement))
    first, *rows = with_front([first, *rows])
    best = pick(rows, first, request.objective)
    rows = [row.model_copy(update={"chosen": row is best}) for row in rows]
    missed = [row for row in rows if row.misses]
    failed = None if best is not None else nearest(missed, budget.excess)
    results = Results(
        lissom=__version__,
        model=model.name,
        task=task.description if task is not None else "none: quality was not measured",
        target=f"{target.name} {target.version}",
        machine=target.machine,
        settings=request.settings,
        objective=request.objective,
        budget=budget.stated(),
        original=first,
        rows=tuple(rows),
        skipped=tuple(skipped),
        notes=(
            *prepared.notes,
            *warnings,
            *_notes(judged, request.budget, budget),
            *_needed(budget, failed),
        ),
        sentence=sentence(model.name, first, best, request.settings, nearest=failed),
        snippet=snippet_for(feeds, model),
        seconds=time.monotonic() - started,
    )
    return Found(results, original, files, {recipe.name: recipe for recipe in recipes})


def _check_budget(budget: Budget, judged: Task | None) -> None:
    metric = judged.metric if judged is not None else None
    budget.check(
        judged=metric is not None,
        bounded=metric is not None and metric.bounded,
        relative=not _is_distance(judged),
    )


def _is_distance(judged: Task | None) -> bool:
    """Whether quality is a distance from the original's outputs: then its own value is zero."""
    metric = judged.metric if judged is not None else None
    return (
        metric is not None
        and not metric.higher_is_better
        and judged is not None
        and (judged.fidelity)
    )


def _with_default_drop(budget: Budget, task: Task | None) -> Budget:
    """The budget with a limit on the drop even when the user stated none."""
    if budget.drop is not None or task is None or _is_distance(task):
        return budget
    if task.metric is not None and not task.metric.bounded:
        return dataclasses.replace(budget, drop="2%")
    return dataclasses.replace(budget, drop="2pt" if task.fidelity else "1pt")


def _row(recipe: Recipe, original: Row, budget: Budget, measurement: Measurement) -> Row:
    return Row(
        name=recipe.name,
        steps=tuple(str(step) for step in recipe.steps),
        measurement=measurement,
        flags=size_flags(measurement, original.measurement),
        misses=budget.misses(measurement),
        unproven=budget.unproven(measurement),
    )


def _notes(judged: Task | None, asked: Budget, used: Budget) -> list[str]:
    notes = []
    if judged is None:
        notes.append("Quality is not measured: no task with validation data was given.")
    elif judged.fidelity:
        notes.append("No labels: quality is fidelity to the original's own outputs.")
    if asked.drop is None and used.drop is not None:
        notes.append(f"No limit on the drop was given; {used.drop} was allowed.")
    elif judged is not None and used.drop is None:
        notes.append("No limit on the loss of quality: this metric has no scale to set one on.")
    return notes


def _needed(budget: Budget, nearest: Row | None) -> list[str]:
    """What would have to be allowed for the nearest row, where nothing fits."""
    needed = budget.needed(nearest.measurement) if nearest is not None else ""
    if nearest is None or not needed:
        return []
    return [f"Nothing fits the budget. Nearest is {nearest.name}: it needs {needed}."]
