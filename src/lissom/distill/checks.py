"""What is wrong with a distillation before it starts: data, labels, shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lissom.distill.teachers import Teacher
from lissom.errors import ModelError, TaskError
from lissom.nn.calls import Call, answer_of
from lissom.nn.feed import tensor_of
from lissom.nn.losses import IGNORED
from lissom.nn.wrappers import evaluating
from lissom.task import Task
from lissom.training_data import TrainingData


def checked_data(task: Task, alpha: float, call: Call) -> TrainingData:
    """The task's training data under the network's input names.

    Raises:
        TaskError: there are none, or no labels where alpha is above 0.
    """
    if task.train is None:
        raise no_training_data()
    if alpha > 0 and not task.train.labelled:
        raise TaskError(
            f"alpha is {alpha:g}, and the training data have no labels to learn from",
            where="distill.logits",
            fix="set alpha: 0 to learn from the teacher alone, or give train=(inputs, labels)",
        )
    return task.train.bind(call.names)


def no_training_data() -> TaskError:
    """The error for a task that has nothing to learn from."""
    return TaskError(
        "distillation needs training data, and the task has none",
        where="distill.logits",
        fix="give Task(train=(inputs, targets)), train=inputs, or train=DataLoader; without "
        "labels set alpha: 0",
    )


def check_first(
    student: nn.Module,
    call: Call,
    teachers: Sequence[Teacher],
    data: TrainingData,
    *,
    rows: int,
    classes: bool,
    device: torch.device,
) -> None:
    """Run the first batch of `rows` rows through all; with `classes`, look whether all integer
    labels are classes of the answer.

    Raises:
        ModelError: shapes differ.
        TaskError: a label is no class of the student.
    """
    answer: torch.Tensor | None = None
    for index, (batch, targets) in enumerate(data.look(rows)):
        if answer is None:
            tensors = {name: tensor_of(array, name).to(device) for name, array in batch.items()}
            answer = check_shapes(student, call, teachers, tensors)
        if not classes or targets is None or targets.dtype.kind not in "iu":
            return
        wrong = targets[((targets < 0) & (targets != IGNORED)) | (targets >= answer.shape[-1])]
        if wrong.size:
            raise TaskError(
                f"the label {wrong.flat[0]} is none of the network's {answer.shape[-1]} classes",
                where=f"train, batch {index}",
                fix="number the classes from 0; -100 leaves a sample out",
            )


def check_shapes(
    student: nn.Module, call: Call, teachers: Sequence[Teacher], batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Compare the answers to one batch; the student's is returned.

    Raises:
        ModelError: a teacher's differs in shape from the student's, or it lacks an input.
    """
    with evaluating(student):
        answer = answer_of(call(student, batch))
    for teacher in teachers:
        missing = [name for name in teacher.call.names if name not in batch]
        if missing:
            raise ModelError(
                f"the teacher takes the input {missing[0]!r}, which the data do not have",
                where=teacher.name,
                fix=f"the data have: {', '.join(batch)}",
            )
        with evaluating(teacher.module):
            other = answer_of(teacher.call(teacher.module, batch))
        if other.shape != answer.shape:
            raise ModelError(
                f"teacher and student do not answer alike: {tuple(other.shape)} and "
                f"{tuple(answer.shape)}",
                where=teacher.name,
                fix="take a teacher with the same classes or width, or alpha: 1 to learn from "
                "labels alone",
            )
    return answer
