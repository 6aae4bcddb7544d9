from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lissom.errors import RequestError, RunError  # noqa: E402
from lissom.nn.place import find_device  # noqa: E402
from lissom.nn.train import train  # noqa: E402
from lissom.nn.training import Training  # noqa: E402
from lissom.training_data import TrainingData  # noqa: E402
from tests.nn.trainable import CALL, bits, by_labels, network, points, trained  # noqa: E402


def accuracy(module):
    module.eval()
    x, y = points()
    with torch.no_grad():
        return float((module(torch.from_numpy(x)).argmax(1).numpy() == y).mean())


def test_it_learns_and_ends_in_evaluation_mode():
    before = accuracy(network())
    module, result = trained(Training(epochs=12, lr=0.02, batch_size=32), validate=accuracy)
    assert not module.training
    assert accuracy(module) > 0.9 > before
    assert result.best_metric == pytest.approx(accuracy(module))
    assert result.epochs == len(result.history) == 12
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 2
    assert [entry["step"] for entry in result.history] == [8 * i for i in range(1, 13)]


def plain_loop(epochs, lr, norm=None):
    """The same steps without lissom's loop: one batch of all rows, SGD with momentum."""
    x, y = (torch.from_numpy(array) for array in points())
    module = torch.nn.Linear(8, 3)
    torch.nn.init.zeros_(module.weight)
    torch.nn.init.zeros_(module.bias)
    optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        if norm:
            torch.nn.utils.clip_grad_norm_(module.parameters(), norm)
        optimizer.step()
    return module


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "norm"), [(256, 1, None), (64, 4, None), (256, 1, 0.1)]
)
def test_it_takes_the_steps_of_a_plain_loop(batch_size, accumulate, norm):
    config = Training(
        epochs=5,
        batch_size=batch_size,
        accumulate=accumulate,
        clip_norm=norm,
        optimizer="SGD",
        optimizer_options={"momentum": 0.9},
        lr=0.1,
        schedule=None,
    )
    module = torch.nn.Linear(8, 3)
    torch.nn.init.zeros_(module.weight)
    torch.nn.init.zeros_(module.bias)
    trained(config, module=module)
    expected = plain_loop(5, 0.1, norm)
    torch.testing.assert_close(module.weight, expected.weight, atol=1e-6, rtol=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_others():
    config = Training(epochs=2, batch_size=32)
    first, again, other = (trained(config, seed=seed)[0] for seed in (0, 0, 1))
    assert bits(first) == bits(again) != bits(other)


def test_a_folder_changes_no_bits(tmp_path):
    config = Training(epochs=2, batch_size=32, checkpoint_steps=3)
    assert bits(trained(config)[0]) == bits(trained(config, tmp_path)[0])


def test_the_callers_generators_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trained(Training(epochs=1))
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_best_epoch_is_kept_and_patience_ends_training():
    metrics = iter([0.1, 0.3, 0.8, 0.5, 0.6, 0.7])
    states = []

    def validate(module):
        states.append(bits(module))
        return next(metrics)

    module, result = trained(Training(epochs=5, patience=2), validate=validate)
    assert bits(module) == states[2]
    assert result.epochs == 4
    assert result.best_metric == 0.8


def test_training_never_ends_worse_than_it_began():
    metrics = iter([0.9, 0.3, 0.8])
    states = []

    def validate(module):
        states.append(bits(module))
        return next(metrics)

    module, result = trained(Training(epochs=2), validate=validate)
    assert bits(module) == states[0]
    assert result.best_metric == 0.9


@pytest.mark.parametrize(("keep", "chosen"), [("best", 2), ("last", 2)])
def test_lower_can_be_better(keep, chosen):
    found = [0.4, 0.3, 0.2, 0.5] if keep == "best" else [0.3, 0.2, 0.5]
    metrics, states = iter(found), []

    def validate(module):
        states.append(bits(module))
        return next(metrics)

    module, result = trained(
        Training(epochs=3, keep=keep), validate=validate, higher_is_better=False
    )
    assert bits(module) == states[chosen]
    assert result.best_metric == found[chosen]


def test_patience_without_validation_is_refused():
    with pytest.raises(RequestError, match="early stopping"):
        trained(Training(patience=1))


def test_the_moving_average_is_what_is_kept():
    decay, seen = 0.5, []

    def loss(module, inputs, targets):
        seen.append(module.weight.detach().clone())
        return by_labels(module, inputs, targets)

    module = torch.nn.Linear(8, 3)
    config = Training(epochs=1, batch_size=32, ema=decay, schedule=None)
    train(module, TrainingData.of(points()).bind(["x"]), loss, config)
    last = torch.nn.Linear(8, 3)
    again = Training(epochs=1, batch_size=32, schedule=None)
    last.weight.data, last.bias.data = seen[0].clone(), torch.zeros(3)
    average = seen[0].clone()
    follow = [*seen[1:], None]
    assert again.ema is None
    for step, weight in enumerate(follow[:-1]):
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * weight
    # The last step's weights were never seen by the loss: the average lies between.
    step = len(seen) - 1
    share = min(decay, (1 + step) / (10 + step))
    final = (module.weight - share * average) / (1 - share)
    assert (final - seen[-1]).abs().max() < 0.01
    assert (module.weight - seen[-1]).abs().max() > 0


def test_every_epoch_and_some_steps_are_logged_as_json_lines(tmp_path):
    trained(Training(epochs=2, batch_size=32, log_steps=4), tmp_path, validate=lambda _: 0.5)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [
        (1, 4), (1, 8), (1, 8), (2, 12), (2, 16), (2, 16)
    ]  # fmt: skip
    assert [line["metric"] for line in lines] == [None, None, 0.5, None, None, 0.5]
    assert all(line["loss"] > 0 and line["lr"] >= 0 and line["seconds"] >= 0 for line in lines)


def test_progress_tells_loss_and_metric():
    shown = {}

    def track(items, label, total=None):
        for item in items:
            shown.setdefault(label, []).append((item.name, total))
            yield item

    trained(Training(epochs=2, batch_size=64), validate=lambda _: 0.5, track=track)
    assert [total for _, total in shown["train"]] == [2, 2]
    assert shown["train"][0][0] == "epoch 1 of 2"
    assert "metric 0.5" in shown["train"][1][0]
    assert [total for _, total in shown["epoch 1"]] == [4] * 4
    assert shown["epoch 1"][-1][0].startswith("loss ")


class Overflow(torch.nn.Module):
    """Gives infinity from the third batch of training on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.seen += self.training
        return x / (self.seen < 3)


def test_a_loss_that_is_not_finite_names_step_and_layer(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(8, 4), Overflow(), torch.nn.Linear(4, 3))
    config = Training(epochs=3, batch_size=128, schedule=None)
    with pytest.raises(RunError, match=r"at step 3 \(epoch 2\)") as error:
        trained(config, tmp_path, module)
    assert "layer '1' (Overflow)" in error.value.where
    assert "clip_norm" in error.value.fix
    # The state after the first epoch: two batches, none of them bad.
    assert module[1].seen == 2
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())
    assert not module.training


def test_a_weight_that_is_not_finite_is_found_before_it_is_kept(tmp_path):
    def loss(module, inputs, targets):
        # sqrt has an infinite gradient at 0, and infinity times 0 is NaN: the loss stays finite.
        return by_labels(module, inputs, targets) + (module[4].weight * 0).sum().sqrt()

    module = network()
    before = bits(module)
    with pytest.raises(RunError, match="weight '4.weight' is not finite at step 1"):
        train(
            module,
            TrainingData.of(points()).bind(["x"]),
            loss,
            Training(epochs=1, batch_size=256),
            folder=tmp_path,
        )
    assert module[1].num_batches_tracked == 0
    assert bits(module) == before
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_bad_inputs_are_named():
    x, y = points()
    x[:] = np.inf
    with pytest.raises(RunError) as error:
        trained(Training(epochs=1), data=TrainingData.of((x, y)))
    assert "the input 'x'" in error.value.where


def test_bfloat16_is_used_when_asked_for():
    kinds = set()

    def loss(module, inputs, targets):
        answer = CALL(module, inputs)
        kinds.add(answer.dtype)
        return torch.nn.functional.cross_entropy(answer.float(), targets)

    for precision in ("auto", "bfloat16"):
        config = Training(epochs=1, precision=precision, device="cpu")
        module = network()
        train(module, TrainingData.of(points()).bind(["x"]), loss, config)
        assert module[0].weight.dtype == torch.float32
    assert kinds == {torch.float32, torch.bfloat16}


def test_a_device_that_is_not_there_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(RequestError, match="no device 'cuda'") as error:
            find_device("cuda")
        assert "cpu" in error.value.fix
    assert find_device("cpu").type == "cpu"


def test_a_log_needs_a_folder():
    with pytest.raises(RequestError, match="tensorboard needs a folder"):
        trained(Training(log=("tensorboard",)))
