from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from lissom.errors import MissingExtra  # noqa: E402
from lissom.nn.training import Training  # noqa: E402
from tests.nn.trainable import trained  # noqa: E402


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_names_its_extra(tmp_path, monkeypatch, tracker):
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(MissingExtra) as error:
        trained(Training(epochs=1, log=(tracker,)), tmp_path)
    assert f"lissom[{tracker}]" in error.value.fix


def test_tensorboard_has_every_number(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = Training(epochs=2, batch_size=128, log=("tensorboard",))
    _, result = trained(config, tmp_path, validate=lambda _: 0.5)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    metrics = events.Scalars("train/metric")
    assert [(event.step, event.value) for event in metrics] == [(2, 0.5), (4, 0.5)]
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([entry["loss"] for entry in result.history])


class Spy:
    """Stands in for mlflow and for wandb, which no test may need: it notes what it is told."""

    def __init__(self, active=None):
        self.active, self.logged, self.calls = active, [], []

    def active_run(self):
        return self.active

    def start_run(self, **settings):
        self.calls.append("start")

    def end_run(self):
        self.calls.append("end")

    def log_metrics(self, numbers, step):
        self.logged.append((step, numbers))

    def init(self, **settings):
        self.calls.append(settings["mode"])
        return SimpleNamespace(log=self.log_metrics, finish=lambda: self.calls.append("finish"))


@pytest.mark.parametrize(
    ("tracker", "active", "calls"),
    [
        ("mlflow", None, ["start", "end"]),
        ("mlflow", "the user's", []),
        ("wandb", None, ["offline", "finish"]),
    ],
)
def test_trackers_are_told_numbers_and_are_closed(tmp_path, monkeypatch, tracker, active, calls):
    spy = Spy(active)
    monkeypatch.setitem(sys.modules, tracker, spy)
    trained(Training(epochs=2, batch_size=128, log=(tracker,)), tmp_path)
    assert spy.calls == calls
    assert [step for step, _ in spy.logged] == [2, 4]
    assert set(spy.logged[0][1]) == {"loss", "lr", "epoch", "seconds"}
