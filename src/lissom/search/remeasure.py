"""An artifact measured again: next to its original and on its data, where these are at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from lissom.artifact import MANIFEST, Manifest
from lissom.errors import FolderError, LissomError, RequestError
from lissom.measurement.records import Measurement, Quality, Settings
from lissom.measurement.rehearse import rehearse
from lissom.measurement.whole import check_alike, measure
from lissom.metrics import METRICS
from lissom.model import Model, open_model
from lissom.onnx_file import inputs_of
from lissom.recipe.run import MODEL_FILE
from lissom.recipe.store import digest
from lissom.search.budget import Budget
from lissom.search.folder import WORKSPACE
from lissom.search.promises import OPTIONS, Promise, judge_promises
from lissom.sources import open_task
from lissom.sources.spec import FORMS
from lissom.targets.machine import Machine, this_machine, usable_cores
from lissom.targets.named import DEFAULT
from lissom.task import Task
from lissom.technique import Track, silent

# Facts of a machine without which a time measured on another one is no promise.
SAME = ("cpu", "architecture", "features", "cores")


@dataclass(frozen=True)
class Demand:
    """What to hold an artifact to, and what to measure it with.

    Attributes:
        budget: limits that replace the recorded ones of their names.
        task: data and metric, or what opens them for a model; None is the recorded one.
        against: the original's .onnx file; None looks for it.
        seconds: of timing for each file; None is as recorded.
        processes: that the seconds are spread over; None is as recorded.
        runtimes: what it is measured in; the limits hold in each.
    """

    budget: Budget = field(default_factory=Budget)
    task: Task | Callable[[Model], Task | None] | None = None
    against: Path | str | None = None
    seconds: float | None = None
    processes: int | None = None
    runtimes: tuple[str, ...] = (DEFAULT,)


@dataclass(frozen=True)
class Again:
    """A new measurement and what became of every promise; `notes` are for the reader."""

    measurement: Measurement
    promises: tuple[Promise, ...]
    notes: tuple[str, ...]


def measured_again(
    folder: Path, manifest: Manifest, demand: Demand, track: Track = silent
) -> Again:
    """Measure an artifact whose files are known to be whole.

    Raises:
        RequestError: a limit is given on what cannot be measured without data or the original.
        LissomError: a given task or original does not fit, or a file cannot be run.
    """
    model = open_model(folder / manifest.model)
    path = folder / manifest.model
    settings, notes = _settings(manifest, demand, folder)
    recorded = _recorded_quality(manifest, folder)
    _check_recorded_limits(manifest, folder)
    original, missing = _original(folder, manifest, demand.against)
    task, unopened = _task(manifest, demand, model, recorded)
    unjudged = unopened or (missing if original is None else "")
    given = demand.task is not None
    _refuse_unjudged(demand.budget, task if original else None, unjudged, given=given)
    if original is None:
        task = None
        notes.append(missing)
    elif demand.against is not None and _key(original) != manifest.original.get("digest"):
        notes.append(
            f"{original.name} is not, byte for byte, the original that the manifest records: "
            "speed and drop are relative to it all the same."
        )
    if original is not None and task is not None:
        check_alike(path, original)
        inputs = inputs_of(path)
        classes = rehearse(original, task, inputs, demand.runtimes[0])
        notes += task.check(inputs, classes=classes, track=track)
    found, *others = (
        measure(path, task, against=original, settings=settings, target=each, track=track)
        for each in demand.runtimes
    )
    if not given and found.quality and recorded and _other_data(found.quality, recorded):
        unjudged = f"{manifest.task} holds other data here than were recorded; give --task"
        found, *others = (e.model_copy(update={"quality": None}) for e in (found, *others))
    found = found.model_copy(update={"elsewhere": tuple(others)})
    elsewhere = _elsewhere(manifest)
    promises = [
        judge_promises(manifest.budget, demand.budget, each, elsewhere=elsewhere, unjudged=unjudged)
        for each in found.everywhere
    ]
    return Again(found, _told_apart(found, promises), tuple(notes))


def _told_apart(found: Measurement, promises: Sequence[tuple[Promise, ...]]) -> tuple[Promise, ...]:
    """The promises of each runtime, named after it where several may differ in what they keep."""
    if not found.elsewhere:
        return promises[0]
    return tuple(
        each.model_copy(update={"name": f"{each.name} in {measured.runtime}"})
        for measured, judged in zip(found.everywhere, promises, strict=True)
        for each in judged
        if measured is found or each.name != "size"
    )


def _settings(manifest: Manifest, demand: Demand, folder: Path) -> tuple[Settings, list[str]]:
    """The recorded conditions of one run; how long it is timed may change."""
    try:
        settings = Settings(**manifest.settings)
    except ValidationError as error:
        raise _damaged(folder, f"settings: {error.errors()[0]['msg']}") from None
    for name in ("batch", "threads", "processes", "seconds"):
        if not 0 < getattr(settings, name) < math.inf:
            raise _damaged(folder, f"settings: {name} is {getattr(settings, name)}")
    processes = demand.processes or settings.processes
    total = settings.seconds * settings.processes if demand.seconds is None else demand.seconds
    settings = settings.model_copy(update={"processes": processes, "seconds": total / processes})
    cores = usable_cores()
    if settings.threads <= cores:
        return settings, []
    note = f"Timed with {cores} threads, one for each core here, and not with {settings.threads}."
    return settings.model_copy(update={"threads": cores}), [note]


def _recorded_quality(manifest: Manifest, folder: Path) -> Quality | None:
    written = manifest.measurement.get("quality")
    try:
        return None if written is None else Quality.model_validate(written)
    except ValidationError as error:
        raise _damaged(folder, f"quality: {error.errors()[0]['msg']}") from None


def _check_recorded_limits(manifest: Manifest, folder: Path) -> None:
    try:
        Budget(**{name: typed for name, typed in manifest.budget.items() if name in OPTIONS})
    except RequestError as error:
        raise _damaged(folder, error.what) from None


def _damaged(folder: Path, why: str) -> FolderError:
    return FolderError(
        f"the manifest is damaged: {why}",
        where=str(folder / MANIFEST),
        fix="make the artifact again",
    )


def _original(
    folder: Path, manifest: Manifest, against: Path | str | None
) -> tuple[Path | None, str]:
    """The file to compare with, or why there is none.

    Unless it is given, it is looked for by its digest: the export that the folder's own workspace
    keeps, the file as it was named when the artifact was made, the same file beside the folder.
    """
    if against is not None:
        opened = open_model(against)
        if opened.path is None:
            raise RequestError(
                "the original to compare with must be an .onnx file",
                where=str(against),
                fix=f"name the exported file; {folder / WORKSPACE} holds it where it was kept",
            )
        return opened.path, ""
    key = str(manifest.original.get("digest", ""))
    export = folder / WORKSPACE / "steps" / Path(key).name / MODEL_FILE
    if key and export.is_file():
        return export, ""
    named = str(manifest.original.get("file") or "")
    for place in (Path(named), folder.absolute().parent / Path(named).name):
        if named and place.is_file() and _key(place) == key:
            return place, ""
    called = named or f"the export of {manifest.original.get('name', 'the model')}"
    return None, f"the original, {called}, is not at hand; give --against"


def _key(path: Path) -> str | None:
    """The digest that a manifest records of a file, None if it is no model."""
    try:
        return digest(model=open_model(path).digest())
    except LissomError:
        return None


def _task(
    manifest: Manifest, demand: Demand, model: Model, recorded: Quality | None
) -> tuple[Task | None, str]:
    """The task given, or the recorded one where its data are here; or why there is none."""
    if demand.task is not None:
        task = demand.task if isinstance(demand.task, Task) else demand.task(model)
        judges = task is not None and task.validation is not None
        return (task, "") if judges else (None, "the task has no validation data")
    if recorded is None:
        return None, "no quality was recorded; give --task"
    metric = recorded.metric if recorded.metric in METRICS else None
    if manifest.task.partition(":")[0] not in FORMS:
        return None, f"its data are recorded in words only ({manifest.task}); give --task"
    try:
        return open_task(manifest.task, model=model, metric=metric), ""
    except LissomError as error:
        return None, f"{manifest.task} cannot be opened here: {error.what}; give --task"


def _other_data(found: Quality, recorded: Quality) -> bool:
    """Whether the original scores otherwise here than was recorded, or there are samples missing.

    More samples than were recorded are told by the recorded interval: `--effort quick` judges by
    some of them.
    """
    if found.samples < recorded.samples:
        return True
    score, was = found.original.value, recorded.original
    if found.samples > recorded.samples:
        return not 2 * was.low - was.value <= score <= 2 * was.high - was.value
    # Another machine's rounding may turn a sample or two.
    leeway = 2 / recorded.samples
    return not math.isclose(score, was.value, rel_tol=leeway, abs_tol=leeway)


def _refuse_unjudged(budget: Budget, task: Task | None, unjudged: str, *, given: bool) -> None:
    """A limit or data given now, which nothing can be judged by, are a wrong request."""
    metric = task.metric if task is not None else None
    if metric is None and (given or budget.drop is not None):
        raise RequestError(
            f"the drop in quality cannot be measured: {unjudged.partition('; give --')[0]}",
            fix="give --task TASK and --against ORIGINAL.onnx",
        )
    distance = metric is not None and task is not None and task.fidelity
    budget.check(
        judged=metric is not None,
        bounded=metric is not None and metric.bounded,
        relative=not (distance and metric is not None and not metric.higher_is_better),
    )


def _elsewhere(manifest: Manifest) -> str:
    """Why the recorded times say nothing here, "" if they do."""
    try:
        there = Machine(**manifest.machine)
    except ValidationError:
        return "the machine it was recorded on is not known"
    here = this_machine()
    if all(getattr(here, name) == getattr(there, name) for name in SAME):
        return ""
    return f"recorded on another machine, {there.cpu} with {there.count_of_cores}"
