"""The search: build what makes sense for a model, measure each, choose inside the budget."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lissom._version import __version__
from lissom.errors import LissomError, ModelError, RequestError, RunError, unknown
from lissom.measure.feeds import example_feeds
from lissom.measure.measure import first_batch
from lissom.measure.records import Measurement, Settings
from lissom.model import Model
from lissom.onnx_file import TensorSpec, inputs_of, read_onnx
from lissom.recipe import catalog
from lissom.recipe.prepare import prepare
from lissom.recipe.run import Built, run
from lissom.recipe.schema import Recipe
from lissom.recipe.store import Store
from lissom.report.results import Results, Row, Skipped
from lissom.report.text import sentence
from lissom.search.budget import Budget
from lissom.search.candidates import propose, weights_of
from lissom.search.choose import OBJECTIVES, Objective, nearest, pick, with_front
from lissom.search.evaluate import Evaluation
from lissom.search.snippet import snippet_for
from lissom.targets.onnxruntime import onnxruntime_target, open_session
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
        for name in self.techniques:
            if name not in TECHNIQUES:
                raise unknown("technique", name, TECHNIQUES)


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
    judged = task is not None and task.validation is not None
    bounded = task is not None and task.metric is not None and task.metric.bounded
    request.budget.check(judged=judged, bounded=bounded)
    prepared = prepare(model, store, request.track)
    original = prepared.built
    inputs = inputs_of(original.path)
    warnings: tuple[str, ...] = ()
    if task is not None:
        task = task.bind([spec.name for spec in inputs])
        warnings = task.check(inputs)
    check_shapes(request.settings, inputs)
    graph = read_onnx(original.path)
    open_session(original.path)
    recipes, skipped = propose(
        weights_of(graph),
        calibrated=task is not None and task.calibration is not None,
        judged=judged,
        only=request.techniques,
    )
    del graph
    evaluation = Evaluation(
        original=original,
        feeds=example_feeds(
            inputs, request.settings, first_batch(task, inputs), request.seed
        ),
        task=task if judged else None,
        settings=request.settings,
        machine=f"{target.machine} {target.version}",
        seed=request.seed,
        store=store,
        track=request.track,
    )
    first = Row(name=ORIGINAL, steps=(), measurement=evaluation.of_original())
    budget = _with_default_drop(request.budget, task if judged else None)
    context = Context(
        exact_weight_bits=target.exact_weight_bits,
        calibration=task.calibration if task is not None else None,
        seed=request.seed,
        track=request.track,
    )
    files: dict[str, Built] = {}
    rows: list[Row] = []
    for recipe in request.track(recipes, "candidates", len(recipes)):
        try:
            built = run(recipe, original, context, store)
            measurement = evaluation.of(built)
        except (ModelError, RunError) as error:
            skipped.append(Skipped(name=recipe.name, why=f"failed: {error.what}"))
            continue
        files[recipe.name] = built
        rows.append(_row(recipe, first, budget, measurement))
    ranked = with_front([first, *rows])
    first, rows = ranked[0], ranked[1:]
    chosen = pick(rows, first, request.objective)
    rows = [row.model_copy(update={"chosen": row == chosen}) for row in rows]
    failed = None if chosen is not None else nearest([row for row in rows if row.misses])
    best = next((row for row in rows if row.chosen), None)
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
        notes=(*prepared.notes, *warnings, *_notes(task, judged, request.budget, budget)),
        sentence=sentence(model.name, first, best, request.settings, nearest=failed),
        snippet=snippet_for(inputs, request.settings, model),
        seconds=time.monotonic() - started,
    )
    return Found(results, original, files, {recipe.name: recipe for recipe in recipes})


def check_shapes(settings: Settings, inputs: Sequence[TensorSpec]) -> None:
    """Refuse `--shape` for inputs the model does not have or dimensions it fixes.

    Raises:
        RequestError: a name, rank or dimension is wrong.
    """
    specs = {spec.name: spec for spec in inputs}
    for name, shape in settings.shapes.items():
        if name not in specs:
            raise unknown("input in --shape", name, specs)
        declared = specs[name].shape
        fits = len(shape) == len(declared) and all(
            size > 0 and (not isinstance(known, int) or known == size)
            for size, known in zip(shape, declared, strict=False)
        )
        if not fits:
            raise RequestError(
                f"the shape {'x'.join(map(str, shape))} does not fit the input {specs[name]}",
                fix="give every dimension, with the sizes the model fixes",
            )


def _with_default_drop(budget: Budget, task: Task | None) -> Budget:
    """The budget with a limit on the drop even when the user stated none."""
    if budget.drop is not None or task is None:
        return budget
    if task.metric is not None and not task.metric.bounded:
        return dataclasses.replace(budget, drop="2%")
    return dataclasses.replace(budget, drop="2pt" if task.fidelity else "1pt")


def _row(recipe: Recipe, original: Row, budget: Budget, measurement: Measurement) -> Row:
    flags = []
    if measurement.footprint.bytes >= original.measurement.footprint.bytes:
        flags.append("not smaller than the original")
    return Row(
        name=recipe.name,
        steps=tuple(str(step) for step in recipe.steps),
        measurement=measurement,
        flags=tuple(flags),
        misses=budget.misses(measurement),
        unproven=budget.unproven(measurement),
    )


def _notes(task: Task | None, judged: bool, asked: Budget, used: Budget) -> list[str]:
    notes = []
    if not judged:
        notes.append("Quality is not measured: no task with validation data was given.")
    elif task is not None and task.fidelity:
        notes.append("No labels: quality is fidelity to the original's own outputs.")
    if asked.drop is None and used.drop is not None:
        notes.append(f"No --max-drop was given; a drop of {used.drop} was allowed.")
    return notes
