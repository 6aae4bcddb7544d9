"""What a model must do: data to calibrate with, data to judge by, and the metric that judges."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from lissom.arrays import Array, Batch, Hasher
from lissom.batches import Batches
from lissom.conform import check_finite, conform
from lissom.errors import TaskError
from lissom.labelled import Labelled, batch_rows
from lissom.metrics import METRICS, Metric, check_labels, default_metric, metric_named
from lissom.overlap import Shared
from lissom.technique import Track, silent
from lissom.training_data import TrainingData, check_loss, code_of

if TYPE_CHECKING:
    from lissom.model import TensorSpec

__all__ = ["Batch", "Batches", "Labelled", "Task"]

# Below this a 95 % interval of the metric is too wide to tell good from bad.
FEW = 30
# They compare whole outputs: class numbers say nothing to them, so the original's outputs serve.
OF_OUTPUTS = ("cosine", "agreement")
FIELDS = ("calibration", "validation", "metric", "description", "train", "loss", "notes")


@dataclass(frozen=True, init=False)
class Task:
    """What the model must do.

    `calibration` holds unlabelled batches; see `Batches.of` for the forms it takes.
    `validation` is `(inputs, targets)`, an iterable of such pairs or of dicts with `labels`, or
    inputs alone; then quality is fidelity to the original model's outputs. `metric` is a name
    from `METRICS` or a `Metric`; left out it is accuracy for one integer label per sample, mse
    for floating targets, and cosine without labels. Under cosine and agreement, integer labels
    are left aside: quality is fidelity then too.

    `train` is what techniques that train learn from: `(inputs, targets)` or inputs as whole
    arrays, a DataLoader or any re-iterable of such batches, a function that returns an iterator,
    or a torch Dataset. `loss` is `(outputs, targets) -> scalar tensor`, given what the network
    returns; left out it is cross entropy for integer targets and mse for floating ones.
    `notes` are sentences for the report, such as how the data were prepared.
    `train_digest` is your own name for the state of a stream whose first batches do not tell
    (a DataLoader that shuffles needs none).

    Raises:
        TaskError: the data can be read only once, are empty or do not belong together, or the
            metric needs labels that are not there.
        RequestError: no metric has that name.
    """

    calibration: Batches | None
    validation: Labelled | None
    metric: Metric | None
    description: str
    train: TrainingData | None
    loss: Callable[[Any, Any], Any] | None
    notes: tuple[str, ...]

    def __init__(
        self,
        *,
        calibration: Any = None,
        validation: Any = None,
        metric: str | Metric | None = None,
        train: Any = None,
        loss: Callable[[Any, Any], Any] | None = None,
        batch_size: int = 32,
        name: str = "",
        train_digest: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        if calibration is None and validation is None and train is None:
            raise TaskError(
                "a task without data",
                fix="give calibration=batches, validation=(inputs, targets), or both",
            )
        if batch_size < 1:
            raise TaskError(f"batch_size is {batch_size}", fix="give 1 or more")
        if isinstance(metric, str):
            metric = metric_named(metric)
        if metric is not None and not isinstance(metric, Metric):
            raise TaskError(
                f"the metric is {type(metric).__name__!r}, not a lissom.Metric",
                fix='metric=lissom.Metric("name", statistics), where statistics(outputs, targets) '
                "gives one number for each sample; or the name of one: " + ", ".join(METRICS),
            )
        if metric is not None and validation is None:
            raise TaskError(
                f"the metric {metric.name!r} has no data to judge by",
                fix="give validation=(inputs, targets), or validation=inputs without labels",
            )
        batches = calibration
        if calibration is not None:
            batches = Batches.of(calibration, batch_size=batch_size, what="calibration")
        labelled = None
        if validation is not None:
            rows = metric.rows if metric is not None else 1
            labelled = Labelled.of(validation, rows=max(1, rows), batch_size=batch_size)
            metric, labelled = _fitting(metric, labelled)
        learnt = None
        if train is not None:
            learnt = TrainingData.of(train, batch_size=batch_size, version=train_digest)
        check_loss(loss, learnt)
        object.__setattr__(self, "calibration", batches)
        object.__setattr__(self, "validation", labelled)
        object.__setattr__(self, "metric", metric)
        object.__setattr__(self, "description", name or _in_words(labelled, metric))
        object.__setattr__(self, "train", learnt)
        object.__setattr__(self, "loss", loss)
        object.__setattr__(self, "notes", tuple(notes))

    @property
    def fidelity(self) -> bool:
        """Whether quality means agreement with the original model, for want of labels."""
        return self.validation is not None and not self.validation.labelled

    def samples(self) -> Iterator[tuple[Batch, Array | None]]:
        """The validation batches with their targets, None where there are no labels."""
        return iter(()) if self.validation is None else iter(self.validation)

    def digest(self) -> str:
        """SHA-256 (hex) of all data, of the metric with its code, and of the loss's code."""
        parts = [
            self.calibration.digest() if self.calibration is not None else "",
            self.validation.digest() if self.validation is not None else "",
            self.metric.name if self.metric is not None else "",
        ]
        if self.metric is not None and METRICS.get(self.metric.name) is not self.metric:
            parts += _told_apart(self.metric)
        if self.train is not None:
            parts += [self.train.digest(), code_of(self.loss) if self.loss is not None else ""]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def bind(self, input_names: Sequence[str]) -> Task:
        """The task with its arrays under the model's input names, and no input it does not take."""
        return self._with(
            calibration=None if self.calibration is None else self.calibration.bind(input_names),
            validation=None if self.validation is None else self.validation.bind(input_names),
            train=None if self.train is None else self.train.bind(input_names),
        )

    def judged_by(self, metric: str | Metric) -> Task:
        """The same data under another metric.

        Raises:
            TaskError: it needs labels that are not there, or there is nothing to judge by.
        """
        return Task(
            calibration=self.calibration,
            validation=self.validation,
            metric=metric,
            train=self.train,
            loss=self.loss,
            name=self.description,
            notes=self.notes,
        )

    def check(
        self, inputs: Sequence[TensorSpec], *, classes: int | None = None, track: Track = silent
    ) -> tuple[str, ...]:
        """Read the data once and compare them with what the model takes; returns warnings.

        Of training data that come in batches of their own only the first are read.

        Args:
            inputs: what the model takes.
            classes: how many classes it tells apart, where targets are class numbers.
            track: shows progress.

        Raises:
            TaskError: data do not fit the model, targets do not fit the inputs, or the data
                differ from pass to pass; the batch is named.
        """
        bound = self.bind([spec.name for spec in inputs])
        shared = Shared()
        if bound.calibration is not None:
            _check_repeats(Labelled.of(bound.calibration), "calibration")
            count = bound.calibration.count
            batches = track(bound.calibration, "read calibration data", count)
            for index, batch in enumerate(batches):
                conform(batch, inputs, f"calibration, batch {index}")
                shared.calibration(batch)
        warnings = self.notes
        if bound.train is not None:
            warnings += _check_train(bound.train, inputs)
        if bound.validation is None:
            return warnings
        _check_repeats(bound.validation, "validation")
        samples = 0
        rows = 1 if bound.metric is None else bound.metric.rows
        pairs = track(bound.samples(), "read validation data", bound.validation.count)
        for index, (batch, targets) in enumerate(pairs):
            where = f"validation, batch {index}"
            conform(batch, inputs, where)
            shared.validation(batch, rows)
            count = _check_targets(_rows(batch, inputs), targets, rows, where)
            if classes is not None and targets is not None and bound.metric is not None:
                place = partial(bound.validation.place, batch=index, before=samples)
                check_labels(bound.metric.name, targets, classes, place)
            samples += count
        return (*warnings, *shared.words(), *_few(samples))

    def _with(self, **fields: Any) -> Task:
        copy = object.__new__(Task)
        for name in FIELDS:
            object.__setattr__(copy, name, fields.get(name, getattr(self, name)))
        return copy


def _fitting(metric: Metric | None, validation: Labelled) -> tuple[Metric, Labelled]:
    """The metric asked for, or the one that goes with the targets; and the data it looks at."""
    targets = _first_targets(validation)
    if metric is None:
        return METRICS[default_metric(targets)], validation
    if targets is not None and metric.name in OF_OUTPUTS and targets.dtype.kind in "iub":
        return metric, validation.without_targets()
    if metric.needs_labels and not validation.labelled:
        free = ", ".join(name for name, each in METRICS.items() if not each.needs_labels)
        raise TaskError(
            f"the metric {metric.name!r} needs labels, and the validation data have none",
            where="validation",
            fix=f"give validation=(inputs, targets), or a metric without labels: {free}"
            + ("" if metric.name in METRICS else "; or say Metric(..., needs_labels=False)"),
        )
    return metric, validation


def _first_targets(validation: Labelled) -> Array | None:
    return next((targets for _, targets in validation.restart()), None)


def _in_words(validation: Labelled | None, metric: Metric | None) -> str:
    if validation is None or metric is None:
        return "calibration data only"
    if validation.labelled:
        return f"{metric.name} on labelled data"
    return f"fidelity to the original ({metric.name}), no labels"


def _check_repeats(data: Labelled, what: str) -> None:
    """Compare the first batch of two passes: shuffling would break pairing and resuming."""
    digests = []
    for _ in range(2):
        hasher = Hasher()
        for batch, targets in islice(data, 1):
            hasher.inputs(batch)
            if targets is not None:
                hasher.array("targets", targets)
        digests.append(hasher.hexdigest())
    if digests[0] != digests[1]:
        raise TaskError(
            f"the {what} data change from one pass to the next",
            where=f"{what}, batch 0",
            fix="switch off shuffling and random augmentation (DataLoader(..., shuffle=False)), "
            "or keep the batches in a list",
        )


def _check_train(train: TrainingData, inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Compare the training data with the model's inputs; what to warn of."""
    fixed = [spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)]
    for index, (batch, targets) in enumerate(train.look(int(fixed[0]) if fixed else 1024)):
        if fixed and index and batch_rows(batch) < fixed[0]:
            continue  # the loop leaves such a rest out
        where = f"train, batch {index}"
        conform(batch, inputs, where)
        _check_targets(_rows(batch, inputs), targets, 0, where)
    if train.repeats():
        return ()
    return (
        "the training batches differ from pass to pass although the generators of random, numpy "
        "and torch are set alike: a run that is killed will not go on to the same bits",
    )


def _rows(batch: Batch, inputs: Sequence[TensorSpec]) -> int:
    """Rows of the batch, along the first input whose first axis is not fixed."""
    free = [spec.name for spec in inputs if spec.shape and not isinstance(spec.shape[0], int)]
    return len(batch[free[0]]) if free else batch_rows(batch)


def _check_targets(rows: int, targets: Array | None, per_sample: int, where: str) -> int:
    """Check that the targets belong to the rows; how many samples there are."""
    if rows == 0:
        raise TaskError("the batch has no rows", where=where)
    if targets is None:
        return rows
    if targets.ndim == 0:
        raise TaskError(
            "the target is a single number, without a sample axis",
            where=where,
            fix="batch the samples: DataLoader(data, batch_size=32), or np.asarray([target])",
        )
    check_finite(targets, "targets", where)
    if per_sample and len(targets) * per_sample != rows:
        each = "one target per row" if per_sample == 1 else f"one per {per_sample} rows"
        raise TaskError(
            f"the batch has {rows} rows and {len(targets)} targets",
            where=where,
            fix=f"give {each}",
        )
    return len(targets)


def _few(samples: int) -> tuple[str, ...]:
    if samples == 1:
        return ("validation has one sample: its interval says nothing about other data",)
    if samples < FEW:
        return (f"validation has only {samples} samples: the interval of the quality is wide",)
    return ()


def _told_apart(metric: Metric) -> list[str]:
    """What tells a user's metric from another of its name."""
    functions = (inspect.unwrap(metric.statistics), metric.reduce, metric.resamples)
    told = [code_of(each) if each is not None else "" for each in functions]
    return [*told, repr((metric.higher_is_better, metric.bounded, metric.rows))]
