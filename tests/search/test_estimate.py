"""What a plan expects, from a few runs of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lissom.errors import TaskError
from lissom.model import open_model
from lissom.recipe.document import open_recipe
from lissom.recipe.plan import plan
from lissom.search.estimate import estimate
from lissom.task import Task
from tests import models


def test_every_step_of_an_onnx_recipe_has_an_expectation(mlp_onnx: Path) -> None:
    task = Task(calibration=models.feeds(models.mlp(), 8))
    planned = plan(open_recipe("int8"), form="onnx", task=task)
    estimates = estimate(planned, open_model(mlp_onnx), task)
    assert [each.planned for each in estimates] == list(planned)
    assert all(each.seconds is not None and each.seconds > 0 for each in estimates)
    assert "on this machine" in estimates[0].words


def test_data_that_do_not_fit_are_refused_as_a_run_would(mlp_onnx: Path) -> None:
    (name,) = models.feeds(models.mlp(), 8)
    for data in ({"other": np.ones((8, 3), np.float32)}, {name: np.ones((8, 999), np.float32)}):
        task = Task(calibration=data)
        planned = plan(open_recipe("int8"), form="onnx", task=task)
        with pytest.raises(TaskError):
            estimate(planned, open_model(mlp_onnx), task)
