from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lissom.errors import TaskError  # noqa: E402
from lissom.nn import losses  # noqa: E402

RANDOM = np.random.default_rng(0)
TEACHER = RANDOM.normal(size=(5, 4)) * 3
STUDENT = RANDOM.normal(size=(5, 4)) * 2
LABELS = RANDOM.integers(0, 4, 5)


def softmax(row, temperature=1.0):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def slow_kl(teacher, student, temperature):
    """T^2 * mean over rows of sum_i p_i log(p_i / q_i), number by number."""
    total = 0.0
    for one, other in zip(teacher, student, strict=True):
        p, q = softmax(one, temperature), softmax(other, temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(teacher)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 8.0])
def test_softened_kl_is_hintons(temperature):
    got = losses.softened_kl(torch.tensor(TEACHER), torch.tensor(STUDENT), temperature).item()
    assert got == pytest.approx(slow_kl(TEACHER, STUDENT, temperature), rel=1e-12)
    # The mistakes that are easily made are all far from it.
    swapped = slow_kl(STUDENT, TEACHER, temperature)
    by_element = slow_kl(TEACHER, STUDENT, temperature) / 4
    assert abs(got - swapped) > 0.05 * got
    assert abs(got - by_element) > 0.05 * got


def test_its_gradient_stays_as_large_as_the_temperature_grows():
    sizes = []
    for temperature in (20.0, 40.0):
        student = torch.tensor(STUDENT, requires_grad=True)
        losses.softened_kl(torch.tensor(TEACHER), student, temperature).backward()
        sizes.append(student.grad.norm().item())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


def test_padding_counts_for_nothing():
    teacher, student = torch.tensor(TEACHER)[None], torch.tensor(STUDENT)[None]
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    got = losses.softened_kl(teacher, student, 2.0, mask).item()
    assert got == pytest.approx(slow_kl(TEACHER[:3], STUDENT[:3], 2.0), rel=1e-12)


def test_cross_entropy_leaves_out_minus_100():
    expected = -np.mean([math.log(softmax(STUDENT[i])[LABELS[i]]) for i in range(3)])
    labels = torch.tensor([*LABELS[:3], -100, -100], dtype=torch.int32)
    got = losses.cross_entropy(torch.tensor(STUDENT)[None], labels[None])
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_cosine_distance_and_squared_error():
    lengths = np.linalg.norm(TEACHER, axis=1) * np.linalg.norm(STUDENT, axis=1)
    expected = 1 - np.mean((TEACHER * STUDENT).sum(axis=1) / lengths)
    teacher, student = torch.tensor(TEACHER), torch.tensor(STUDENT)
    assert losses.cosine_distance(teacher, student).item() == pytest.approx(expected, rel=1e-12)
    squares = np.mean((TEACHER - STUDENT) ** 2)
    assert losses.squared_error(teacher, student).item() == pytest.approx(squares, rel=1e-12)


def test_half_precision_is_widened_before_the_logarithm():
    teacher, student = torch.tensor(TEACHER).bfloat16(), torch.tensor(STUDENT).bfloat16()
    exact = slow_kl(teacher.double().numpy(), student.double().numpy(), 4.0)
    assert losses.softened_kl(teacher, student, 4.0).item() == pytest.approx(exact, rel=1e-5)


def test_the_default_goes_by_the_targets():
    student = torch.tensor(STUDENT)
    labels = torch.tensor(LABELS)
    by_class = losses.default_loss({"logits": student}, labels)
    assert by_class.item() == pytest.approx(losses.cross_entropy(student, labels).item())
    one = losses.default_loss(student[:, :1], torch.zeros(5, dtype=torch.float64))
    assert one.item() == pytest.approx(np.mean(STUDENT[:, 0] ** 2))
    with pytest.raises(TaskError, match=r"\(5, 4\) and the targets \(4,\)"):
        losses.default_loss(student, labels[:4])
    with pytest.raises(TaskError, match="loss=your own"):
        losses.default_loss(student, torch.zeros(5))
