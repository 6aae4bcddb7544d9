from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lissom.errors import ModelError, TaskError  # noqa: E402
from lissom.nn.calls import Call, answer_of  # noqa: E402
from lissom.nn.evaluate import evaluate  # noqa: E402
from lissom.task import Task  # noqa: E402
from tests.nn.trainable import CALL, network, points  # noqa: E402


def test_it_is_the_metric_of_the_modules_outputs():
    x, y = points()
    module = network().train()
    with torch.no_grad():
        expected = (network().eval()(torch.from_numpy(x)).argmax(1).numpy() == y).mean()
    assert evaluate(module, Task(validation=(x, y)), CALL) == pytest.approx(expected)
    assert module.training
    assert module[1].num_batches_tracked == 0


def test_without_labels_it_is_fidelity_to_the_original():
    x, _ = points()
    task = Task(validation=x, metric="agreement")
    assert evaluate(network(), task, CALL, original=network()) == 1.0
    assert evaluate(network(), task, CALL, original=network(1)) < 1.0
    with pytest.raises(TaskError, match="needs the original"):
        evaluate(network(), task, CALL)


def test_inputs_by_name_and_outputs_in_a_dict():
    class Two(torch.nn.Module):
        def forward(self, *, right, left):
            return {"ids": left.long(), "both": left - right}

    left, right = np.full((4, 2), 3.0, np.float32), np.ones((4, 2), np.float32)
    task = Task(validation=({"left": left, "right": right}, np.full((4, 2), 2.0)))
    assert evaluate(Two(), task, Call(("left", "right"), keywords=True)) == 0.0


def test_an_answer_is_the_first_floating_tensor():
    ids, values = torch.arange(3), torch.rand(3)
    assert answer_of({"ids": ids, "more": (ids, values)}) is values
    with pytest.raises(ModelError, match="without a floating tensor"):
        answer_of([ids])
