"""A recipe is proven before it runs: order, form, data."""

from __future__ import annotations

import numpy as np
import pytest

from lissom.errors import RequestError
from lissom.recipe import catalog
from lissom.recipe.document import shipped
from lissom.recipe.plan import plan
from lissom.recipe.schema import Recipe, Step
from lissom.task import Task

assert catalog.__all__

X, Y = np.zeros((4, 2), np.float32), np.zeros(4, np.int64)
FULL = Task(calibration=[X], validation=(X, Y), train=(X, Y))


def of(*names: str, **config: object) -> Recipe:
    steps = tuple(Step(technique=name) for name in names)
    return Recipe(name="tried", steps=steps)


def test_the_shipped_recipe_says_what_happens_where() -> None:
    steps = plan(shipped()["prune-distill-quantize"], form="torch", task=FULL)
    assert [(p.step.technique, p.form, p.exports) for p in steps] == [
        ("prune.structured", "torch", False),
        ("distill.logits", "torch", False),
        ("graph.optimize", "onnx", True),
        ("quantize.static", "onnx", False),
    ]
    assert steps[0].needs == ("calibration",)
    assert steps[-1].destroys == ("float weights",)


@pytest.mark.parametrize(
    ("recipe", "form", "task", "what", "fix"),
    [
        (
            of("quantize.static", "quantize.dynamic"), "onnx", FULL,
            "quantize.dynamic needs float weights, which quantize.static before it has replaced",
            "move quantize.dynamic before quantize.static",
        ),
        (
            of("graph.optimize", "distill.logits"), "torch", FULL,
            "distill.logits needs a torch module, and graph.optimize before it has already",
            "move distill.logits before graph.optimize",
        ),
        (of("distill.logits"), "onnx", FULL, "the model is an ONNX file", "file.py:factory"),
        (of("quantize.static"), "onnx", None, "needs calibration data", "Task|task"),
        (
            of("distill.logits"), "torch", Task(calibration=[X]),
            "needs training data", r"Task\(train=",
        ),
        (
            of("distill.logits"), "torch", Task(calibration=[X], train={"x": X}),
            "needs labels", "targets",
        ),
    ],
)  # fmt: skip
def test_impossible_orders_are_refused_with_the_remedy(
    recipe: Recipe, form: str, task: Task | None, what: str, fix: str
) -> None:
    with pytest.raises(RequestError, match=what) as caught:
        plan(recipe, form=form, task=task)  # type: ignore[arg-type]
    import re

    assert re.search(fix, caught.value.fix or "")


def test_embeddings_alone_leave_the_layers_for_the_next_step() -> None:
    tables = Step(technique="quantize.weight_only", config={"layers": False})
    recipe = Recipe(name="both", steps=(tables, Step(technique="quantize.dynamic")))
    assert len(plan(recipe, form="onnx", task=None)) == 2
    everything = Recipe(
        name="twice",
        steps=(Step(technique="quantize.weight_only"), Step(technique="quantize.dynamic")),
    )
    with pytest.raises(RequestError, match="weight_only"):
        plan(everything, form="onnx", task=None)
