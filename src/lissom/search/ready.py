"""Everything a run of candidates or of a recipe starts from: the original, measured and checked."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lissom._version import __version__
from lissom.arrays import Batch
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Measurement
from lissom.measurement.rehearse import rehearse
from lissom.measurement.whole import first_batch
from lissom.model import Model
from lissom.onnx_file import inputs_of, read_onnx
from lissom.recipe.prepare import Prepared, declared_inputs, prepare
from lissom.recipe.run import Built
from lissom.recipe.schema import Recipe
from lissom.recipe.store import Store
from lissom.report.results import Results, Row, Skipped
from lissom.report.text import sentence
from lissom.search.budget import Budget
from lissom.search.choose import size_flags
from lissom.search.evaluate import Evaluation
from lissom.search.request import Request
from lissom.search.snippet import snippet_for
from lissom.targets.named import described
from lissom.targets.target import Opener, Target
from lissom.task import Task
from lissom.technique import Context

ORIGINAL = "original"


@dataclass(frozen=True)
class Found:
    """The record of everything; by row: its file, its recipe, the folder of its torch module."""

    results: Results
    original: Built
    files: dict[str, Built]
    recipes: dict[str, Recipe]
    modules: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Ready:
    """The original as an ONNX file, and how everything is compared with it.

    Attributes:
        judged: the task, if it measures quality.
        targets: the runtimes that files are built for and measured in.
        budget: the user's, with a limit on the drop even where none was stated.
        warnings: what the reader of the report should know so far.
    """

    model: Model
    task: Task | None
    judged: Task | None
    request: Request
    targets: tuple[Target, ...]
    prepared: Prepared
    context: Context
    evaluation: Evaluation
    feeds: Batch
    budget: Budget
    warnings: tuple[str, ...]
    started: float

    def row(self, name: str, steps: Recipe, original: Row, measurement: Measurement) -> Row:
        """A measured file as a row of the table."""
        needed = map(self.budget.samples_needed, measurement.everywhere)
        return Row(
            name=name,
            steps=tuple(str(step) for step in steps.steps),
            measurement=measurement,
            flags=size_flags(measurement, original.measurement),
            misses=in_each(measurement, self.budget.misses),
            unproven=in_each(measurement, self.budget.unproven),
            samples_needed=max(filter(None, needed), default=None),
        )

    def original(self) -> Row:
        """The original, measured."""
        return Row(name=ORIGINAL, steps=(), measurement=self.evaluation.of_original())

    def results(
        self,
        original: Row,
        rows: Sequence[Row],
        *,
        kind: Literal["search", "recipe"] = "search",
        skipped: Sequence[Skipped] = (),
        notes: Sequence[str] = (),
        failed: Row | None = None,
    ) -> Results:
        """The record of the whole run; `failed` is the row nearest to the budget if none fits."""
        best = next((row for row in rows if row.chosen), None)
        fitting = any(not row.misses for row in rows)
        task, target = self.task, self.targets[0]
        return Results(
            kind=kind,
            lissom=__version__,
            model=self.model.name,
            task=task.description if task is not None else "none: quality was not measured",
            target=described(self.targets),
            cpu=target.cpu,
            machine=target.machine,
            settings=self.request.settings,
            objective=self.request.objective,
            budget=self.budget.stated(),
            original=original,
            rows=tuple(rows),
            skipped=tuple(skipped),
            notes=(
                *self.warnings,
                *notes,
                *_notes(self.judged, self.request.budget, self.budget),
                *_needed(self.budget, failed, fitting=fitting and kind == "search"),
            ),
            sentence=self._of_the_first()
            + sentence(
                self.model.name,
                original,
                best,
                self.request.settings,
                nearest=failed,
                fitting=fitting,
                steps=len(rows) if kind == "recipe" else 0,
            ),
            snippet=snippet_for(self.feeds, self.model, runtime=target.name),
            seconds=time.monotonic() - self.started,
        )

    def _of_the_first(self) -> str:
        """The runtime that the summary speaks of, where there are several."""
        return f"In {self.targets[0].name}: " if len(self.targets) > 1 else ""


def make_ready(model: Model, task: Task | None, request: Request, store: Store) -> Ready:
    """Export the model if it must be, and refuse what is wrong before any long work.

    Raises:
        LissomError: the model, the task or the request is wrong.
    """
    started = time.monotonic()
    targets = request.targets
    judged = task if task is not None and task.validation is not None else None
    _check_budget(request.budget, judged)
    if task is not None and model.factory is not None:
        # Before the export, which takes longer than reading the first batches.
        task.check(declared_inputs(model), track=request.track)

    def feeds_for(path: Path) -> Batch:
        taken = inputs_of(path)
        return example_feeds(taken, request.settings, first_batch(task, taken), request.seed)

    prepared = prepare(model, store, request.track, feeds=feeds_for)
    original = prepared.original
    inputs = inputs_of(original.path)
    warnings: tuple[str, ...] = ()
    if task is not None:
        task = task.bind([spec.name for spec in inputs])
        for each in targets:
            classes = rehearse(original.path, task, inputs, each.name)
        warnings = task.check(inputs, classes=classes, track=request.track)
        judged = task if judged is not None else None
    feeds = example_feeds(inputs, request.settings, first_batch(task, inputs), request.seed)
    read_onnx(original.path)  # looks at the weights too, which an export may have made NaN
    for each in targets:
        run_once(each.open, original.path, feeds)
    first, *others = (
        Evaluation(
            original=original,
            feeds=feeds,
            task=judged,
            settings=request.settings,
            machine=f"{each.machine} {each.version}",
            seed=request.seed,
            store=store,
            track=request.track,
            timed=each.here,
            exact=each.must_be_exact,
            runtime=each.name,
        )
        for each in targets
    )
    return Ready(
        model=model,
        task=task,
        judged=judged,
        request=request,
        targets=targets,
        prepared=prepared,
        context=Context(
            pair_sums=any(each.pair_sums for each in targets),
            calibration=task.calibration if task is not None else None,
            task=task,
            seed=request.seed,
            track=request.track,
        ),
        evaluation=dataclasses.replace(first, beside=tuple(others)),
        feeds=feeds,
        budget=_with_default_drop(request.budget, judged),
        warnings=(*prepared.notes, *warnings, *_elsewhere(targets)),
        started=started,
    )


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


def run_once(open_file: Opener, path: Path, feeds: Batch) -> None:
    """Run a file on inputs that were made for it.

    Raises:
        ModelError: the runtime refuses the file, or cannot run it on these inputs.
        RunError: there is not enough memory.
    """
    session = open_file(path)
    try:
        session(feeds)
    except session.errors as error:
        raise session.failed_run(error, feeds) from None


def in_each(
    measurement: Measurement, judge: Callable[[Measurement], Sequence[str]]
) -> tuple[str, ...]:
    """What is said of a file in each runtime, told apart where it is not the same in all."""
    found = {each.runtime: tuple(judge(each)) for each in measurement.everywhere}
    everywhere = [words for words in judge(measurement) if all(words in f for f in found.values())]
    others = (
        f"{words} ({runtime})"
        for runtime, told in found.items()
        for words in told
        if words not in everywhere
    )
    return (*everywhere, *others)


def _elsewhere(targets: Sequence[Target]) -> list[str]:
    """What is different about files built for another processor than this machine's."""
    target = next((each for each in targets if not each.here), None)
    if target is None:
        return []
    notes = [
        f"Built for {target.cpu}: latency is not measured here, and quality is by exact integer "
        "arithmetic."
    ]
    if target.must_be_exact:
        notes.append(
            "Its int8 weights may saturate on this machine, which adds pairs of products in 16 "
            "bits: `lissom check` refuses such a file here."
        )
    return notes


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


def _needed(budget: Budget, nearest: Row | None, *, fitting: bool) -> list[str]:
    """What would have to be allowed for the nearest row, where nothing fits."""
    if nearest is None:
        return []
    needed = " and ".join(
        in_each(nearest.measurement, lambda one: [*filter(None, [budget.needed(one)])])
    )
    if not needed:
        return []
    nothing = "Nothing smaller or faster" if fitting else "Nothing"
    return [f"{nothing} fits the budget. Nearest is {nearest.name}: it needs {needed}."]
