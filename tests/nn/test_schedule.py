from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lissom.errors import RequestError  # noqa: E402
from lissom.nn.schedule import Schedule, make_optimizer, optimizers, schedules  # noqa: E402
from lissom.nn.training import Training  # noqa: E402


def rates(steps, epochs=2, steps_in_epoch=5, metrics=(), **settings):
    config = Training(epochs=epochs, lr=1.0, optimizer="SGD", **settings)
    optimizer = make_optimizer(torch.nn.Linear(1, 1), config)
    schedule = Schedule(optimizer, config, steps_in_epoch, True)
    found = []
    for number in range(steps):
        found.append(schedule.step(number))
        if (number + 1) % steps_in_epoch == 0:
            schedule.end_epoch(metrics[number // steps_in_epoch] if metrics else None)
    return found


def test_cosine_ends_with_the_run():
    found = rates(10, schedule="CosineAnnealingLR")
    expected = [(1 + torch.cos(torch.tensor(torch.pi * i / 10)).item()) / 2 for i in range(10)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_warm_up_rises_and_the_schedule_begins_after_it():
    found = rates(10, schedule="CosineAnnealingLR", warmup_steps=4)
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[4] == pytest.approx(1.0)
    assert found[-1] == pytest.approx((1 + torch.cos(torch.tensor(torch.pi * 5 / 6)).item()) / 2)


def test_steps_of_step_lr_are_epochs_as_in_torch():
    options = {"step_size": 1, "gamma": 0.1}
    found = rates(10, schedule="StepLR", schedule_options=options)
    assert found == pytest.approx([1.0] * 5 + [0.1] * 5)


def test_plateau_reads_the_metric_and_its_direction():
    options = {"patience": 0, "factor": 0.5}
    found = rates(
        15,
        epochs=3,
        schedule="ReduceLROnPlateau",
        schedule_options=options,
        metrics=[0.5, 0.4, 0.3],
    )
    assert found[::5] == [1.0, 1.0, 0.5]


def test_none_is_constant():
    assert rates(3, schedule=None) == [1.0] * 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimizer": "AdmW"}, "did you mean 'AdamW'"),
        ({"schedule": "CosineAnealingLR"}, "did you mean 'CosineAnnealingLR'"),
        ({"optimizer": "SGD", "optimizer_options": {"betas": 3}}, "torch's documentation of SGD"),
        ({"schedule": "StepLR"}, "torch's documentation of StepLR"),
    ],
)
def test_what_torch_does_not_have_is_refused(settings, says):
    config = Training(**settings)
    with pytest.raises(RequestError) as error:
        Schedule(make_optimizer(torch.nn.Linear(1, 1), config), config, 5, True)
    assert says in error.value.fix


def test_a_schedule_that_ends_with_the_run_needs_to_know_the_end():
    config = Training()
    with pytest.raises(RequestError, match="do not tell how long"):
        Schedule(make_optimizer(torch.nn.Linear(1, 1), config), config, None, True)


def test_a_frozen_network_is_refused():
    with pytest.raises(RequestError, match="nothing to train"):
        make_optimizer(torch.nn.Linear(1, 1).requires_grad_(False), Training())


def test_only_what_a_recipe_can_hold_is_offered():
    assert {"SGD", "AdamW"} <= set(optimizers())
    assert "LBFGS" not in optimizers()
    assert {"OneCycleLR", "StepLR", "ReduceLROnPlateau"} <= set(schedules())
    assert "LambdaLR" not in schedules()
