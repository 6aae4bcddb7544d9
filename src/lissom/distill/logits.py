"""Distillation of outputs: the student learns what its teachers answer, and what the labels say."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from lissom.errors import RequestError
from lissom.nn.training import Training
from lissom.task import Task
from lissom.technique import Config, Context, Need, Track, silent, technique

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lissom.distill.teachers import Teacher
    from lissom.nn.calls import Call
    from lissom.nn.network import TorchModel
    from lissom.nn.progress import TrainResult
    from lissom.nn.run import Loss

Match = Literal["logits", "cosine", "mse"]

# Metrics of embeddings, whose direction is what counts.
OF_DIRECTION = ("cosine", "spearman")


class Logits(Config):
    """Settings of the distillation of outputs.

    Attributes:
        alpha: share of the labels in the loss; 0 needs no labels, 1 no teacher.
        temperature: softens both answers, for "logits" alone.
        match: what is compared: class probabilities ("logits"), the direction of embeddings
            ("cosine") or values ("mse"). "auto" is cosine where the task's metric is cosine or
            spearman, mse where it is mse or the targets are floating, logits otherwise.
        teachers: networks besides the original, as file.py:factory.
        teacher_weights: share of the original, then of each of `teachers`; equal if left out.
        cache_bytes: most that the answers of all teachers to data that never change (whole
            arrays) may take on disk; what is larger is computed anew for every batch.
        training: how to train.
    """

    alpha: float = Field(default=0.1, ge=0, le=1)
    temperature: PositiveFloat = 4.0
    match: Literal["auto", "logits", "cosine", "mse"] = "auto"
    teachers: tuple[str, ...] = ()
    teacher_weights: tuple[float, ...] = ()
    cache_bytes: NonNegativeInt = 2 * 2**30
    training: Training = Training()

    @model_validator(mode="after")
    def _one_weight_each(self) -> Logits:
        weights = self.teacher_weights
        if weights and len(weights) != len(self.teachers) + 1:
            raise ValueError(
                f"{len(weights)} teacher_weights for {len(self.teachers) + 1} teachers: "
                "the original comes first"
            )
        if any(weight < 0 for weight in weights) or (weights and not sum(weights) > 0):
            raise ValueError("teacher_weights are 0 or more, and one of them is more than 0")
        return self

    def check(self) -> None:
        """Refuse a training that torch cannot do.

        Raises:
            RequestError: torch has no such optimizer or schedule.
        """
        self.training.check()

    def reads(self) -> dict[str, str]:
        """The weights and the code of each of `teachers`.

        Raises:
            ModelError: a spec names no network.
        """
        if self.alpha == 1:
            return {}
        from lissom.factory import digest_of, from_spec

        return {spec: digest_of(from_spec(spec)()) for spec in self.teachers}


def _needs(config: Logits) -> list[Need]:
    return ["training", "labels"] if config.alpha > 0 else ["training"]


@technique(
    "distill.logits",
    config=Logits,
    form="torch",
    needs=_needs,
    leaves=["trained weights"],
)
def logits(model: TorchModel, config: Logits, context: Context) -> TorchModel:
    """Train the network to answer as its original does, or as the labels say, or both.

    alpha CE(labels, student) + (1 - alpha) T^2 KL(teacher_T || student_T), batch mean (Hinton,
    Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015); for embeddings and
    regression the second term is a cosine distance or squared error.

    Raises:
        TaskError: there are no training data, or no labels where alpha is above 0.
        ModelError: teacher and student answer in different shapes.
        RequestError: there is no original to learn from, or a training setting is wrong.
        RunError: the loss is NaN or infinite.
    """
    from lissom.distill.checks import no_training_data
    from lissom.distill.teachers import Teacher, named_teachers
    from lissom.nn.calls import Call

    if context.task is None:
        raise no_training_data()
    call = Call(tuple(model.example_inputs), model.keywords)
    original = None if context.original is None else Teacher(context.original().module, call)
    teachers: list[Teacher] = []
    if config.alpha < 1:
        if original is None:
            raise RequestError(
                "there is no original network to learn from",
                where="distill.logits",
                fix="start from a torch network, or set alpha: 1 to learn from labels alone",
            )
        teachers = _weighted([original, *named_teachers(config.teachers, call)], config)
    student = copy.deepcopy(model.module)
    distil(
        student,
        teachers,
        context.task,
        config,
        call,
        original=None if original is None else original.module,
        folder=context.workspace,
        seed=context.seed,
        track=context.track,
    )
    return replace(model, module=student, notes=(*model.notes, *_selection(config, context.task)))


def _selection(config: Logits, task: Task) -> list[str]:
    """What must be said when the data that judge the result have also chosen it."""
    if config.training.keep != "best" or task.validation is None:
        return []
    return [
        "the epoch was chosen on the validation data that also judge it, which flatters the result "
        "a little; keep: last does not"
    ]


def distil(
    student: nn.Module,
    teachers: Sequence[Teacher],
    task: Task,
    config: Logits,
    call: Call,
    *,
    original: nn.Module | None = None,
    folder: Path | None = None,
    seed: int = 0,
    track: Track = silent,
) -> TrainResult:
    """Train `student` in place by its teachers, whose weights add up to 1.

    `original` is what a metric without labels compares with; the rest is as for `train`.

    Raises:
        TaskError, ModelError, RequestError, RunError, FolderError: as `logits` and `train` say.
    """
    from lissom.distill.cache import cached_answers
    from lissom.distill.checks import check_first, checked_data
    from lissom.nn.evaluate import evaluate
    from lissom.nn.place import find_device, moved, moved_back
    from lissom.nn.train import train

    data = checked_data(task, config.alpha, call)
    device = find_device(config.training.device)
    home = next((parameter.device for parameter in student.parameters()), device)
    moved(student, device)
    for teacher in teachers:
        moved(teacher.module, device).eval().requires_grad_(False)
    rows, classes = config.training.batch_size, config.alpha > 0 and task.loss is None
    check_first(student, call, teachers, data, rows=rows, classes=classes, device=device)
    beside = {}
    for index, teacher in enumerate(teachers if folder is not None else ()):
        assert folder is not None
        limit = config.cache_bytes // len(teachers)
        kept = cached_answers(teacher, data, folder, limit=limit, device=device, track=track)
        if kept is not None:
            beside[answer_name(index)] = kept

    def validate(module: nn.Module) -> float:
        return evaluate(module, task, call, original=original)

    settings = config.model_dump_json(exclude={"training", "cache_bytes"})
    facts = {"distillation": hashlib.sha256(settings.encode()).hexdigest()}
    facts.update({f"teacher {i + 1}": teacher.digest() for i, teacher in enumerate(teachers)})
    result = train(
        student,
        data,
        distillation_loss(teachers, task, config, call, resolve_match(config.match, task)),
        config.training,
        validate=None if task.validation is None else validate,
        higher_is_better=task.metric is None or task.metric.higher_is_better,
        folder=folder,
        beside=beside,
        facts={**facts, "task": task.digest() if folder is not None else ""},
        seed=seed,
        track=track,
    )
    moved_back(student, home)
    return result


def distillation_loss(
    teachers: Sequence[Teacher], task: Task, config: Logits, call: Call, match: Match
) -> Loss:
    """The loss of a batch; answers that come beside the inputs are not asked for again."""
    import torch

    from lissom.distill.positions import classes_first, counted_positions
    from lissom.nn import losses
    from lissom.nn.calls import answer_of

    by_labels = losses.task_loss(task.loss)

    def unlikeness(
        taught: torch.Tensor, given: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        if match == "logits":
            return losses.softened_kl(taught, given, config.temperature, mask)
        if match == "cosine":
            return losses.cosine_distance(taught, given, mask)
        return losses.squared_error(taught, given, mask)

    def loss(
        module: nn.Module, inputs: dict[str, torch.Tensor], targets: torch.Tensor | None
    ) -> torch.Tensor:
        result = call(module, inputs)
        answer = answer_of(result)
        total = answer.new_zeros(())
        if config.alpha > 0:
            assert targets is not None
            total = total + config.alpha * by_labels(result, targets)
        for index, teacher in enumerate(teachers):
            taught = inputs.get(answer_name(index))
            if taught is None:
                with torch.no_grad():
                    taught = answer_of(teacher.call(teacher.module, inputs))
            given = answer
            if match == "logits" and classes_first(answer, targets):
                taught, given = taught.movedim(1, -1), answer.movedim(1, -1)
            mask = counted_positions(given, inputs, targets)
            share = (1 - config.alpha) * teacher.weight
            total = total + share * unlikeness(taught, given, mask)
        return total

    return loss


def resolve_match(match: Literal["auto", "logits", "cosine", "mse"], task: Task) -> Match:
    """What is compared, where the config leaves it to the task."""
    if match != "auto":
        return match
    metric = "" if task.metric is None else task.metric.name
    if metric in OF_DIRECTION:
        return "cosine"
    if metric == "mse" or (task.train is not None and task.train.of_values):
        return "mse"
    return "logits"


def answer_name(index: int) -> str:
    """The name under which a teacher's answers travel with the inputs."""
    return f"answer of teacher {index + 1}"


def _weighted(teachers: list[Teacher], config: Logits) -> list[Teacher]:
    """Shares that add up to 1; who has none need not be asked."""
    weights = config.teacher_weights or (1.0,) * len(teachers)
    total = sum(weights)
    pairs = zip(teachers, weights, strict=True)
    return [replace(teacher, weight=weight / total) for teacher, weight in pairs if weight > 0]
