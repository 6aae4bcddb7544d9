from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lissom.nn.coupling import couple  # noqa: E402
from lissom.nn.trial import proven  # noqa: E402
from tests.nn.networks import alive, build, model_of  # noqa: E402


class Counting(nn.Module):
    """Its forward writes one layer's width down as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Linear(24, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))).view(-1, 24))


def test_a_size_written_into_the_code_is_found_by_running_it() -> None:
    model = model_of(alive(Counting()), torch.randn(2, 3, 2, 2))
    coupling = couple(model)
    assert [group.name for group in coupling.groups] == ["a", "b"]
    left = proven(model, coupling)
    assert [group.name for group in left.groups] == ["a"]
    assert "without one channel" in next(each.reason for each in left.whole if each.layer == "b")


def test_what_the_code_stands_is_left_as_it_is() -> None:
    model = build("flat")
    coupling = couple(model)
    assert proven(model, coupling) is coupling
