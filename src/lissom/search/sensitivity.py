"""`lissom.sensitivity`: the error that every layer alone makes of the outputs in every format."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from lissom.artifact import sha256_of
from lissom.diagnosis.kept import Keep
from lissom.errors import ModelError, RequestError, TaskError
from lissom.labelled import batch_rows
from lissom.model import Model, open_model
from lissom.onnx_file import inputs_of, read_onnx
from lissom.recipe.convert import needs_converting
from lissom.recipe.prepare import declared_inputs, prepare
from lissom.recipe.run import Built, run, versions
from lissom.recipe.store import Store, digest
from lissom.search.comparable import comparable
from lissom.search.folder import workspace
from lissom.search.formats import OPTIMIZED, check_formats, recipe_of, usual
from lissom.search.layer_errors import FormatErrors, Original, format_errors
from lissom.search.looked_at import FEWEST
from lissom.search.modules import modules_of
from lissom.search.samples import drawn_samples
from lissom.search.weights import Weights, weights_of
from lissom.tables import Format, LayerSensitivity, Rounding, Sensitivity
from lissom.targets.named import find_target
from lissom.targets.target import Target
from lissom.task import Task
from lissom.technique import Context, Track, silent

SAMPLES = 128


def sensitivity(
    model: Model | str | Path | Any,
    task: Task,
    *,
    formats: Sequence[Format] | Sequence[str] = (),
    samples: int = SAMPLES,
    rounding: Rounding = "nearest",
    target: str = "onnxruntime",
    cpu: str | None = None,
    folder: Path | str | None = None,
    example_inputs: Any = None,
    seed: int = 0,
    track: Track = silent,
    waiting: Callable[[], None] = lambda: None,
) -> Sensitivity:
    """How much of the outputs' power the error of each layer is, one layer in one format at a time.

    The whole network is brought into each format; then each layer's own part of it is fed with
    what the original computed before it, its result put into the original, and only what depends
    on it run again. Some pairs of layers are measured together, and the whole network, which tells
    how far errors of layers add up.

    Args:
        model: an `.onnx` file, a Hugging Face folder, `file.py:factory`, or an `nn.Module`.
        task: its calibration data are what ranges are found with and layers are fed with.
        formats: of `lissom.tables.FORMATS`; left out, those worth choosing between for this model
            on this target.
        samples: at most so many of the calibration data are looked at, drawn at random. Where
            there are few, fewer: all layers in all formats take no more runs than three of all
            calibration data for each layer. Fewer too where what is held of them would take more
            than 512 MB, eight at least.
        rounding: how codes of the static formats are chosen; "learned" takes longer, and is nearer
            to files that learn them, as those of `compress` do for convolutions.
        target: the runtime it will live in, in which whole networks run.
        cpu: the class of processor it will run on, which decides how wide codes may be; None is
            this machine's.
        folder: where finished files and layers are kept, so that a killed run goes on; the same as
            of `compress` will do. A temporary one when None.
        example_inputs: what an `nn.Module` is exported with.
        seed: draws samples and pairs.
        track: shows progress.
        waiting: called when another run holds the folder.

    Returns:
        A table by layer, in the order of the graph; formats that do not apply to a layer are left
        out there.

    Raises:
        RequestError: a format, the target or the number of samples is wrong.
        TaskError: there are no calibration data, or they do not fit the model.
        ModelError: the model has no layer with float weights, or cannot be brought into a format.
        MissingExtra: the model must be exported and torch is not installed.
    """
    asked = check_formats(formats)
    runtime = find_target(target, cpu)
    if samples < FEWEST:
        raise RequestError(
            f"{samples} samples are too few to tell layers apart", fix=f"ask for {FEWEST} at least"
        )
    _check_task(task)
    opened = model if isinstance(model, Model) else open_model(model, example_inputs=example_inputs)
    if opened.path is not None:
        # What is wrong with a request is told before a folder is made.
        task.check(inputs_of(opened.path), track=track)
        _usable(opened.path)
    with tempfile.TemporaryDirectory(prefix="lissom-sensitivity-") as temporary:
        place = Path(temporary) / "work" if folder is None else Path(folder)
        with workspace(place, opened, waiting) as store:
            if opened.factory is not None:
                # Before the export, which takes longer than reading the first batches.
                task.check(declared_inputs(opened), track=track)
            prepared = prepare(opened, store, track)
            bound = Task(calibration=task.calibration, name=task.description)
            bound = bound.bind([spec.name for spec in inputs_of(prepared.built.path)])
            context = Context(
                pair_sums=runtime.pair_sums,
                calibration=bound.calibration,
                seed=seed,
                track=track,
            )
            return measured_sensitivity(
                prepared.built, bound, asked, samples, context, store, runtime, rounding=rounding
            )


def _check_task(task: Task) -> None:
    """Refuse what has no calibration data.

    Raises:
        TaskError: it is no task, or has none.
    """
    if not isinstance(task, Task):
        raise TaskError(
            "layers are fed with calibration data, and no task brings any",
            fix="give lissom.Task(calibration=batches), on the command line --task",
        )
    if task.calibration is None:
        raise TaskError(
            "layers are fed with calibration data, and the task has none",
            where=task.description,
            fix="give calibration=batches: a few hundred inputs like those in use, without labels",
        )


def _usable(path: Path) -> Weights:
    """What a model holds.

    Raises:
        ModelError: no layer with float weights.
    """
    model = read_onnx(path)
    weights = weights_of(model)
    if not weights.quantizable and not needs_converting(model):
        already = "its weights are quantized already" if weights.quantized else "none has weights"
        raise ModelError(
            f"no layer to measure: {already}, of Conv, MatMul, Gemm and embeddings",
            where=str(path),
            fix="give the original float32 model; `lissom inspect` lists what a file holds",
        )
    return weights


def measured_sensitivity(
    start: Built,
    task: Task,
    asked: Sequence[Format],
    samples: int,
    context: Context,
    store: Store,
    target: Target,
    *,
    rounding: Rounding = "nearest",
) -> Sensitivity:
    """The same of an ONNX file that techniques can take, within a run that holds its store.

    Args:
        start: the file.
        task: bound to its inputs, with calibration data, which alone are looked at.
        asked: formats; empty is those worth choosing between.
        samples: at most so many are looked at.
        context: what files are built with.
        store: keeps files, and layers until all are there.
        target: the runtime.
        rounding: of the static formats.

    Raises:
        ModelError: the model has no layer with float weights, or cannot be brought into a format.
        TaskError: there are too few calibration data.
    """
    formats = tuple(asked) or usual(_usable(start.path), target)
    calibration = task.calibration
    assert calibration is not None
    data = digest(data=calibration.digest(), samples=samples, seed=context.seed)
    key = digest(
        step="sensitivity",
        model=start.key,
        formats=list(formats),
        rounding=rounding,
        data=data,
        pair_sums=context.pair_sums,
        target=f"{target.name} {target.version}",
        code=versions(),
    )
    place = store.folder / "work" / key

    def make() -> Sensitivity:
        base = comparable(run(OPTIMIZED, start, context, store), store)
        network = Original.of(base.path)
        inputs = inputs_of(start.path)
        drawn = drawn_samples(network, task, inputs, samples, len(formats), context)
        original = dataclasses.replace(network, samples=drawn)
        found: dict[Format, FormatErrors] = {}
        for form in formats:
            built = run(recipe_of(form, rounding), base, context, store)
            keep = _keeping(Store(place), form)
            found[form] = format_errors(
                original,
                built.path,
                form,
                opener=target.open,
                keep=keep,
                seed=context.seed,
                track=context.track,
            )
        return _table(start, data, original, found, rounding)

    result = store.record(key, Sensitivity, make)
    shutil.rmtree(place, ignore_errors=True)
    return result


class _Part(BaseModel):
    """What is kept of one layer."""

    model_config = ConfigDict(ser_json_inf_nan="constants")
    value: Any


def _keeping(store: Store, form: Format) -> Keep:
    """Keeps what is found of each layer in one format."""

    def keep(name: str, make: Callable[[], Any]) -> Any:
        key = digest(part=name, format=form)
        return store.record(key, _Part, lambda: _Part(value=make())).value

    return keep


def _table(
    start: Built,
    data: str,
    original: Original,
    found: dict[Format, FormatErrors],
    rounding: Rounding,
) -> Sensitivity:
    modules = modules_of(start.path)
    layers = []
    for layer in original.layers():
        name = layer.name
        errors = {form: each.layers[name] for form, each in found.items() if name in each.layers}
        if errors:
            layers.append(
                LayerSensitivity(
                    name=layer.name,
                    module=modules.get(layer.name),
                    op_type=layer.op_type,
                    weights=layer.weights,
                    errors=errors,
                )
            )
    return Sensitivity(
        model=sha256_of(start.path),
        data=data,
        samples=sum(batch_rows(batch) for batch in original.samples),
        formats=tuple(found),
        rounding=rounding,
        layers=tuple(layers),
        whole={form: each.whole for form, each in found.items()},
        pairs=tuple(pair for each in found.values() for pair in each.pairs),
        lost={form: each.lost for form, each in found.items() if each.lost},
    )
