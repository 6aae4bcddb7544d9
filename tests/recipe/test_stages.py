from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from lissom.model import open_model  # noqa: E402
from lissom.recipe import catalog  # noqa: E402
from lissom.recipe.schema import Step  # noqa: E402
from lissom.recipe.stages import _torch_step  # noqa: E402
from lissom.recipe.store import Store  # noqa: E402
from lissom.task import Task  # noqa: E402
from lissom.technique import Context  # noqa: E402
from tests.nn.trainable import network, points  # noqa: E402

assert catalog.__all__, "importing the catalog fills the table of techniques"

TEACHER = "from torch import nn, zeros\ndef build():\n    return nn.Linear(8, 3), zeros(2, 8)\n"


def test_a_teacher_that_changed_is_asked_again(tmp_path: Path) -> None:
    x, y = points()
    file = tmp_path / "teacher.py"
    step = Step(
        technique="distill.logits",
        config={"teachers": [f"{file}:build"], "training": {"epochs": 1}},
    )
    model = open_model(network(), example_inputs=torch.zeros(2, 8))
    context = Context(task=Task(train=(x, y)))
    store = Store(tmp_path / "store")

    def key(text: str) -> str:
        file.write_text(text, encoding="utf-8")
        return _torch_step(step, model, None, "parent", context, store)[1]

    first = key(TEACHER)
    assert key(TEACHER) == first
    assert key(TEACHER.replace("3)", "3, bias=False)")) != first
