"""`lissom.diagnose`: where a compressed network's error comes from, and what to do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lissom.artifact import read_manifest, sha256_of
from lissom.diagnosis.diagnose import diagnose as layer_errors
from lissom.diagnosis.kept import facts, forget, kept
from lissom.diagnosis.speed import times as measured_times
from lissom.diagnosis.speed import with_kept_float
from lissom.diagnosis.verdict import with_verdicts
from lissom.diagnosis.written import keeps_float
from lissom.errors import FolderError, ModelError, RequestError
from lissom.measurement.quality import judge, statistics_of
from lissom.measurement.records import Quality
from lissom.measurement.whole import check_alike
from lissom.model import Model, open_model
from lissom.onnx_file import inputs_of
from lissom.recipe.prepare import prepare
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store, digest
from lissom.report import text
from lissom.report.diagnosis import Diagnosis, Times
from lissom.search.folder import WORKSPACE, check_folder
from lissom.search.looked_at import FEWEST, LookedAt, made_up, of_task
from lissom.targets.cpu import pair_sums_of
from lissom.targets.machine import this_machine
from lissom.task import Task
from lissom.technique import Track, silent

SAMPLES = 256
# Within the workspace of a folder.
DIAGNOSES = "diagnoses"


def diagnose(
    original: Model | Path | str,
    compressed: Path | str,
    task: Task | None = None,
    *,
    samples: int = SAMPLES,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    seed: int = 0,
    cpu: str | None = None,
    folder: Path | str | None = None,
    fresh: bool = False,
    times: bool = True,
    track: Track = silent,
    waiting: Callable[[], None] = lambda: None,
) -> Diagnosis:
    """Where the error of a compressed network comes from: every layer's, its causes, and remedies.

    Any two ONNX files that compute the same will do, whoever made them.

    Args:
        original: the float network: an .onnx file, or what is exported to one.
        compressed: an .onnx file made from it, or the folder that holds one.
        task: its validation samples are looked at, and its calibration data compared with them.
            Without it, inputs are made up: floats are standard normal, integers 0; what is said of
            ranges and shares is then of those.
        samples: at most so many are looked at.
        shapes: of inputs that are made up, by name.
        seed: seeds what is drawn or made up.
        cpu: class of processor that the compressed file is for, which decides whether saturation
            counts; this machine's if not given.
        folder: where finished parts are kept, so that a killed diagnosis goes on and a finished one
            is answered at once: one that `compress` wrote, or a new one; a temporary one when None.
        fresh: forget what earlier diagnoses left in the folder.
        times: measure on this machine what every layer takes in either file.
        track: shows progress.
        waiting: called when another run holds the folder.

    Returns:
        Verdicts first, each with its remedy; `print` the text of `lissom diagnose`.

    Raises:
        ModelError: a file cannot be read or run, or the two do not compute the same.
        RequestError: the two are one, or take different inputs; or there is no such class.
        TaskError: the data do not fit the model, or are fewer than eight samples.
        FolderError: the folder is not lissom's, or not writable.
        MissingExtra: the original must be exported and torch is not installed.
    """
    if samples < FEWEST:
        raise RequestError(
            f"{samples} samples are too few to tell where an error comes from",
            fix=f"ask for {FEWEST} at least",
        )
    pair_sums = None if cpu is None else pair_sums_of(cpu)
    first = original if isinstance(original, Model) else open_model(original)
    second = _compressed(compressed)
    _check_apart(first, second)

    def look(path: Path) -> LookedAt:
        _check_inputs(path, second)
        inputs = inputs_of(path)
        if task is None:
            return made_up(inputs, samples, shapes=shapes, seed=seed)
        return of_task(task, inputs, samples, seed=seed, track=track)

    # What is wrong with a request is told before a folder is made.
    seen = None if first.path is None else look(first.path)
    with _store(folder, waiting) as store:
        if fresh:
            forget(store)
        path = first.path or prepare(first, store, track).original.path
        looked = seen or look(path)
        key = digest(
            original=first.digest(),
            compressed=open_model(second).digest(),
            data=(looked.judged or looked.batches).digest(),
            calibration="" if looked.calibration is None else looked.calibration.digest(),
            seed=seed,
            machine=facts(pair_sums),
        )
        found = kept(
            store,
            key,
            lambda keep: layer_errors(
                path,
                second,
                looked.batches,
                calibration=looked.calibration,
                pair_sums=pair_sums,
                keep=keep,
                track=track,
            ),
        )
        names = _names(first, second)
        found = found.model_copy(
            update={
                "original": names[0],
                "compressed": names[1],
                "inputs": looked.words,
                "made_up": looked.made_up,
                "made_by": _made_by(second),
                "quality": _quality(looked, path, second, seed, track, store, key),
            }
        )
        if times:
            found = _with_times(found, looked, path, second, track, store, key)
    return with_verdicts(found)


def _with_times(
    found: Diagnosis,
    looked: LookedAt,
    original: Path,
    compressed: Path,
    track: Track,
    store: Store,
    key: str,
) -> Diagnosis:
    """With what every layer takes, and would take where a verdict is to keep it float.

    Kept for this machine.
    """
    sample = next(iter(looked.batches))

    def measured() -> Times:
        times = measured_times(original, compressed, sample, track=track)
        told = with_verdicts(found.model_copy(update={"times": times})).verdicts
        layers = [each.layer for each in told if each.layer and keeps_float(each.config)]
        return with_kept_float(times, compressed, sample, layers, track=track)

    machine = this_machine().model_dump(mode="json")
    times = store.record(digest(diagnosis=key, part="times", machine=machine), Times, measured)
    return found.model_copy(update={"times": times})


@contextmanager
def _store(folder: Path | str | None, waiting: Callable[[], None]) -> Iterator[Store]:
    """Where the parts of diagnoses are kept, held for one run."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="lissom-diagnose-") as place:
            yield Store(Path(place))
        return
    try:
        check_folder(Path(folder))
    except FolderError as error:
        error.fix = "name a new folder, or one that lissom made, with --folder"
        raise
    store = Store(Path(folder) / WORKSPACE / DIAGNOSES)
    with store.alone(waiting):
        yield store


def _compressed(place: Path | str) -> Path:
    """The .onnx file of a path.

    Raises:
        ModelError: there is none.
    """
    opened = open_model(place)
    if opened.path is None:
        raise ModelError(
            f"{place} is not an .onnx file, and only a file that runs can be diagnosed",
            where=str(place),
            fix="give the .onnx file that was made of the original",
        )
    return opened.path


def _made_by(compressed: Path) -> tuple[Step, ...]:
    """The steps of the recipe that made a file, as the manifest beside it says."""
    try:
        manifest = read_manifest(compressed.parent)
    except FolderError:
        return ()
    if manifest.files.get(compressed.name) != sha256_of(compressed):
        return ()
    return Recipe.model_validate(manifest.recipe).steps


def _check_apart(first: Model, second: Path) -> None:
    """Two names of one file have nothing between them.

    Raises:
        RequestError: it is one file, or a copy of it.
    """
    if first.path is None:
        return
    if first.path.resolve() == second.resolve():
        raise RequestError(
            f"{first.path} and {second} are the same file",
            fix="give the original first, then the file made of it",
        )
    if first.digest() == open_model(second).digest():
        raise RequestError(
            f"{second} is a copy of {first.path}: there is no error to explain",
            fix="give the original first, then the compressed file",
        )


def _check_inputs(original: Path, compressed: Path) -> None:
    """Inputs are compared before data are read, which may take long.

    Raises:
        RequestError: the compressed model takes what the original does not.
    """
    names = {spec.name for spec in inputs_of(original)}
    if any(spec.name not in names for spec in inputs_of(compressed)):
        check_alike(compressed, original)


def _names(first: Model, second: Path) -> tuple[str, str]:
    """File names, with as many folders before them as tell the two apart."""
    if first.path is None:
        return first.name, second.name
    one, other = (path.resolve().parts for path in (first.path, second))
    longest = max(len(one), len(other))
    count = next((n for n in range(1, longest) if one[-n:] != other[-n:]), longest)
    return str(Path(*one[-count:])), str(Path(*other[-count:]))


def _quality(
    looked: LookedAt,
    original: Path,
    compressed: Path,
    seed: int,
    track: Track,
    store: Store,
    key: str,
) -> str:
    """The metric of both files on the samples that were looked at, in words; "" without a task."""
    task = looked.judged
    if task is None:
        return ""

    def measured() -> Quality:
        before = statistics_of(original, task, track=track)
        after = statistics_of(compressed, task, original=original, track=track)
        return judge(task.metric, before, after, fidelity=task.fidelity, seed=seed)

    quality = store.record(digest(quality=key), Quality, measured)
    label = text.metric_label(quality)
    values = f"{label} {text.score(quality.original.value)} -> {text.score(quality.value.value)}"
    lost = f"drop {text.drop(quality)} {text.drop_interval(quality)}"
    return f"{values}, {lost}, {quality.samples:,} samples"
