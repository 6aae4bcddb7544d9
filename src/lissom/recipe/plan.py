"""Prove a recipe before it runs: which step can work on what the steps before it leave."""

from __future__ import annotations

from dataclasses import dataclass

from lissom.errors import RequestError
from lissom.recipe.schema import Recipe, Step
from lissom.task import Task
from lissom.technique import Form, Need, Technique, find_technique

# How a user gets what a step needs; what lacks first is told first.
REMEDIES: dict[Need, str] = {
    "calibration": "give a task with calibration data",
    "training": "give a task with training data: Task(train=...)",
    "labels": "give a task whose training data have targets",
}


@dataclass(frozen=True)
class Planned:
    """One step as it will run.

    Attributes:
        step: the step.
        form: what it works on: a torch module or an ONNX graph.
        needs: what must be there before it.
        leaves: what it adds.
        destroys: what no later step can use any more.
        exports: the module is exported to ONNX before this step.
    """

    step: Step
    form: Form
    needs: tuple[str, ...]
    leaves: tuple[str, ...]
    destroys: tuple[str, ...]
    exports: bool


def plan(recipe: Recipe, *, form: Form, task: Task | None) -> tuple[Planned, ...]:
    """The steps in order, each proven to have what it needs.

    Args:
        recipe: what to run.
        form: what the model is: "torch", or "onnx" for a file.
        task: what the model must do, or None.

    Raises:
        RequestError: a step cannot run where it stands; names it, the step in its way, and the
            remedy.
    """
    had = _data_of(task)
    planned: list[Planned] = []
    now: Form = form
    gone: dict[str, Step] = {}
    for step in recipe.steps:
        entry, settings = find_technique(step.technique), step.settings()
        _check_form(entry, step, form, planned)
        settings.check()
        for need in sorted(entry.needs_of(settings), key=_rank):
            if need in gone:
                raise _destroyed(step, need, gone[need])
            if need in REMEDIES and need not in had:
                raise RequestError(
                    f"the step {step.technique} needs {_in_words(need)}, and the task has none",
                    where=f"recipe {recipe.name}",
                    fix=f"{REMEDIES[need]}, or leave the step out",
                )
        destroys = entry.destroys_of(settings)
        planned.append(
            Planned(
                step,
                entry.form,
                tuple(sorted(entry.needs_of(settings))),
                tuple(sorted(entry.leaves)),
                tuple(sorted(destroys)),
                exports=now == "torch" and entry.form == "onnx",
            )
        )
        now = entry.form
        gone.update(dict.fromkeys(destroys, step))
    return tuple(planned)


def _rank(need: str) -> int:
    names = list(REMEDIES)
    return names.index(need) if need in REMEDIES else len(names)


def _data_of(task: Task | None) -> frozenset[str]:
    if task is None:
        return frozenset()
    present = {
        "calibration": task.calibration is not None,
        "training": task.train is not None,
        "labels": task.train is not None and task.train.labelled,
    }
    return frozenset(name for name, there in present.items() if there)


def _check_form(entry: Technique, step: Step, form: Form, planned: list[Planned]) -> None:
    if entry.form == "onnx":
        return
    if form == "onnx":
        raise RequestError(
            f"the step {step.technique} changes a torch module, and the model is an ONNX file",
            fix="give the model as a Hugging Face folder or file.py:factory, or leave the step out",
        )
    graph = next((done.step for done in planned if done.form == "onnx"), None)
    if graph is not None:
        raise RequestError(
            f"the step {step.technique} needs a torch module, and {graph.technique} before it "
            "has already made an ONNX graph of it",
            fix=f"move {step.technique} before {graph.technique}",
        )


def _destroyed(step: Step, need: str, by: Step) -> RequestError:
    return RequestError(
        f"the step {step.technique} needs {_in_words(need)}, which {by.technique} before it "
        "has replaced",
        fix=f"move {step.technique} before {by.technique}, or leave one of the two out",
    )


def _in_words(need: str) -> str:
    return {"calibration": "calibration data", "training": "training data"}.get(need, need)
