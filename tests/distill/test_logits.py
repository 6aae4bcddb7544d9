from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from lissom.distill.logits import (  # noqa: E402
    Logits,
    answer_name,
    distil,
    distillation_loss,
    logits,
)
from lissom.distill.teachers import Teacher  # noqa: E402
from lissom.errors import ModelError, RequestError, TaskError  # noqa: E402
from lissom.factory import network_of  # noqa: E402
from lissom.nn import losses  # noqa: E402
from lissom.nn.calls import Call  # noqa: E402
from lissom.nn.network import TorchModel  # noqa: E402
from lissom.nn.training import Training  # noqa: E402
from lissom.task import Task  # noqa: E402
from lissom.technique import TECHNIQUES, Context  # noqa: E402
from tests.nn.trainable import CALL, bits, network, points  # noqa: E402

SHORT = Training(epochs=2, batch_size=64, lr=0.01)
X, Y = points()


class Counted(torch.nn.Module):
    """A teacher that knows how often it was asked, and in which mode."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.asked, self.modes = inner, 0, set()

    def forward(self, x):
        self.asked += 1
        self.modes.add(self.training)
        return self.inner(x)


def teacher(seed=1, weight=1.0, classes=3):
    module = network(seed)
    if classes != 3:
        module[4] = torch.nn.Linear(16, classes)
    return Teacher(Counted(module), CALL, weight)


def model(seed=0):
    return TorchModel.of(network_of(network(seed), torch.zeros(2, 8), None, "net", b""))


def softmax(row, temperature=1.0):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_hintons_for_two_teachers(alpha):
    config = Logits(alpha=alpha, temperature=3.0)
    weights = (0.25, 0.75)
    teachers = [teacher(i + 1, weight) for i, weight in enumerate(weights)]
    student = network().double().eval()
    for one in teachers:
        one.module.double().eval()
    x, y = torch.from_numpy(X[:6]).double(), torch.from_numpy(Y[:6])
    found = distillation_loss(teachers, Task(train=(X, Y)), config, CALL, "logits")(
        student, {"x": x}, y
    )
    given = student(x).tolist()
    expected = alpha * sum(
        -math.log(softmax(row)[label]) for row, label in zip(given, y, strict=True)
    )
    for one, weight in zip(teachers, weights, strict=True):
        for row, taught in zip(given, one.module(x).tolist(), strict=True):
            p, q = softmax(taught, 3.0), softmax(row, 3.0)
            divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            expected += (1 - alpha) * weight * 9.0 * divergence
    assert found.item() == pytest.approx(expected / 6, rel=1e-9)
    found.backward()
    assert student[0].weight.grad.abs().max() > 0
    assert all(p.grad is None for one in teachers for p in one.module.parameters())


def test_the_classes_of_segmentation_are_the_second_axis():
    """The loss of dense logits is that of the same pixels as rows."""
    draw = torch.Generator().manual_seed(0)
    taught, x = (torch.randn(2, 3, 4, 5, generator=draw) for _ in range(2))
    y = torch.randint(0, 3, (2, 4, 5), generator=draw)
    y[0, 0] = -100
    dense, same = torch.nn.Conv2d(3, 3, 1, bias=False), torch.nn.Identity()
    config, by_labels = Logits(alpha=0.0, temperature=2.0), torch.nn.functional.cross_entropy
    task = Task(train=(x.numpy(), y.numpy()), loss=by_labels)
    loss = distillation_loss([Teacher(same, CALL, 1.0)], task, config, CALL, "logits")
    beside = {"x": x, answer_name(0): taught}
    kept = y != -100
    rows = [v.movedim(1, -1)[kept] for v in (taught, dense(x))]
    expected = losses.softened_kl(rows[0], rows[1], 2.0)
    assert loss(dense, beside, y).item() == pytest.approx(expected.item(), rel=1e-6)
    everywhere = [v.movedim(1, -1) for v in (taught, dense(x))]
    expected = losses.softened_kl(everywhere[0], everywhere[1], 2.0)
    assert loss(dense, beside, None).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_student_becomes_like_its_teacher_without_labels():
    student, original = network(), teacher()
    answers = original.module.eval()(torch.from_numpy(X)).argmax(1)

    def agreement():
        return (student.eval()(torch.from_numpy(X)).argmax(1) == answers).float().mean().item()

    before = agreement()
    config = Logits(alpha=0, training=Training(epochs=25, batch_size=64, lr=0.02))
    distil(student, [original], Task(train=X), config, CALL)
    assert agreement() > 0.8 > before + 0.2
    assert original.module.modes == {False}


def test_alpha_1_is_recovery_by_labels_and_needs_no_original():
    task = Task(train=(X, Y), validation=(X, Y))
    config = Logits(alpha=1, training=SHORT)
    learnt = logits(model(), config, Context(task=task))
    (note,) = learnt.notes
    assert note.startswith("the epoch was chosen on the validation data that also judge it")
    last = Logits(alpha=1, training=SHORT.model_copy(update={"keep": "last"}))
    assert logits(model(), last, Context(task=task)).notes == ()
    assert not learnt.module.training
    start = model()
    assert bits(logits(start, config, Context(task=task)).module) == bits(learnt.module)
    assert bits(start.module) == bits(model().module)
    assert bits(learnt.module) != bits(start.module)


def test_the_technique_learns_from_its_original():
    task = Task(train=X, validation=X, metric="agreement")
    config = Logits(alpha=0, training=Training(epochs=15, batch_size=64, lr=0.02))
    context = Context(task=task, original=lambda: model(1))
    learnt = logits(model(), config, context).module
    with torch.no_grad():
        pairs = [m(torch.from_numpy(X)).argmax(1) for m in (learnt, model(1).module)]
    assert (pairs[0] == pairs[1]).float().mean() > 0.8
    assert TECHNIQUES["distill.logits"].form == "torch"
    assert TECHNIQUES["distill.logits"].needs_of(config) == {"training"}
    assert TECHNIQUES["distill.logits"].needs_of(Logits()) == {"training", "labels"}


def test_embeddings_and_values_are_matched():
    encoder = torch.nn.Linear(8, 6)
    for metric, match in (("cosine", "cosine"), ("mse", "mse")):
        torch.manual_seed(0)
        student = torch.nn.Linear(8, 6)
        task = Task(train=X, validation=X, metric=metric)
        config = Logits(alpha=0, training=Training(epochs=30, batch_size=64, lr=0.03))
        assert config.match == "auto"
        result = distil(student, [Teacher(encoder, CALL)], task, config, CALL, original=encoder)
        given, taught = (m(torch.from_numpy(X)).detach() for m in (student, encoder))
        if match == "mse":
            assert (given - taught).square().mean() < 0.01
            assert result.best_metric == pytest.approx((given - taught).square().mean().item())
        else:
            assert torch.cosine_similarity(given, taught).min() > 0.99
            # The direction alone was asked for.
            assert (given - taught).square().mean() > 0.01


def test_other_teachers_come_from_python_files(tmp_path):
    file = tmp_path / "other.py"
    file.write_text(
        "import torch\nfrom torch import nn\n"
        "def build():\n    return nn.Linear(8, 3), torch.zeros(2, 8)\n"
    )
    config = Logits(alpha=0, teachers=(f"{file}:build",), teacher_weights=(0, 2), training=SHORT)
    asked = Counted(network(1))
    original = TorchModel.of(network_of(asked, torch.zeros(2, 8), None, "net", b""))
    logits(model(), config, Context(task=Task(train=X), original=lambda: original))
    assert asked.asked == 0
    before = config.reads()
    file.write_text(file.read_text().replace("nn.Linear(8, 3)", "nn.Linear(8, 3, bias=False)"))
    assert before != config.reads() != {}
    assert config.model_copy(update={"alpha": 1.0}).reads() == {}
    wrong = config.model_copy(update={"teachers": (f"{file}:built",)})
    with pytest.raises(ModelError, match="no object named 'built'"):
        logits(model(), wrong, Context(task=Task(train=X), original=lambda: original))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"teacher_weights": (1.0, 2.0)}, "2 teacher_weights for 1 teachers"),
        ({"teacher_weights": (0.0,)}, "more than 0"),
        ({"alpha": 1.5}, "less than or equal to 1"),
        ({"temperature": 0}, "greater than 0"),
        ({"epochs": 3}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says):
    with pytest.raises(ValidationError, match=says):
        Logits(**settings)


def never(module, inputs, targets):
    raise AssertionError("training began")


@pytest.mark.parametrize(
    ("task", "settings", "original", "error", "says"),
    [
        (None, {}, 1, TaskError, "needs training data"),
        (Task(validation=(X, Y)), {}, 1, TaskError, "needs training data"),
        (Task(train=X), {"alpha": 0.5}, 1, TaskError, "no labels to learn from"),
        (Task(train=(X, Y)), {}, None, RequestError, "no original network"),
        (Task(train=(X, Y + 5)), {}, 1, TaskError, "none of the network's 3 classes"),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_training(
    monkeypatch, task, settings, original, error, says
):
    monkeypatch.setattr("lissom.nn.train.train", never)
    context = Context(task=task, original=None if original is None else lambda: model(original))
    with pytest.raises(error, match=says):
        logits(model(), Logits(**settings), context)


def test_answers_of_other_shapes_are_refused_before_training(monkeypatch):
    monkeypatch.setattr("lissom.nn.train.train", never)
    with pytest.raises(ModelError, match=r"\(64, 5\) and \(64, 3\)"):
        distil(network(), [teacher(classes=5)], Task(train=(X, Y)), Logits(), CALL)


def test_a_loss_of_the_users_own_is_used():
    seen = []

    def own(outputs, targets):
        seen.append(targets.dtype)
        return outputs.square().mean() + targets.float().mean() * 0

    student = network()
    task = Task(train=(X, Y + 100), loss=own)
    distil(student, [], task, Logits(alpha=1, training=Training(epochs=20, lr=0.05)), CALL)
    assert student.eval()(torch.from_numpy(X)).square().mean() < 0.01
    assert set(seen) == {torch.int64}


class Tokens(torch.nn.Module):
    """Logits for every token, from ids and a mask, by name."""

    def __init__(self, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.table = torch.nn.Embedding(11, 7)

    def forward(self, *, input_ids, attention_mask):
        return {"logits": self.table(input_ids) * attention_mask.sum()}


def test_padding_of_token_classifiers_is_not_learnt():
    ids = torch.randint(0, 11, (2, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    call = Call(("input_ids", "attention_mask"), keywords=True)
    loss = distillation_loss(
        [Teacher(Tokens(1), call)], Task(train=X), Logits(alpha=0), call, "logits"
    )
    inputs = {"input_ids": ids, "attention_mask": mask}
    whole = loss(Tokens(0), inputs, None)
    student = Tokens(0)
    loss(student, inputs, None).backward()
    padded = set(ids[mask == 0].tolist()) - set(ids[mask == 1].tolist())
    assert padded
    assert all(student.table.weight.grad[row].abs().sum() == 0 for row in padded)
    assert whole > 0


@pytest.mark.parametrize("stop", [1, 5])
def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path, stop):
    task = Task(train=(X, Y), validation=(X, Y))
    config = Logits(training=SHORT.model_copy(update={"checkpoint_steps": 1}))
    context = Context(task=task, original=lambda: model(1), workspace=tmp_path / "whole")
    whole = logits(model(), config, context)

    def track(items, label, total=None):
        for number, item in enumerate(items):
            yield item
            if label == "epoch 1" and number == stop:
                raise KeyboardInterrupt

    broken = replace(context, workspace=tmp_path / "broken")
    if stop < 4:
        with pytest.raises(KeyboardInterrupt):
            logits(model(), config, replace(broken, track=track))
    assert bits(logits(model(), config, broken).module) == bits(whole.module)


def test_float_targets_are_values(tmp_path):
    values = X[:, :1] * 2
    student = torch.nn.Linear(8, 1)
    task = Task(train=(X, values))
    config = Logits(alpha=0.5, training=Training(epochs=40, lr=0.05))
    distil(student, [Teacher(torch.nn.Linear(8, 1), CALL)], task, config, CALL)
    assert np.isfinite(student.weight.detach().numpy()).all()
