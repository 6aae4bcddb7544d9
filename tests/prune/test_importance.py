from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lissom.errors import RequestError  # noqa: E402
from lissom.prune import importance  # noqa: E402


def evidence(seed: int = 0) -> importance.Evidence:
    return importance.Evidence(
        "layer",
        made=(torch.tensor([[3.0, -4.0], [1.0, 0.0]]), torch.tensor([[12.0], [-2.0]])),
        used=(),
        scales=(torch.tensor([-2.0, 1.0]), torch.tensor([0.5, 0.5])),
        slopes=(torch.tensor([[1.0, -1.0], [2.0, 1.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])),
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("l1", [19.0, 3.0]),
        ("l2", [13.0, 5**0.5]),
        ("batch_norm", [2.5, 1.5]),
        ("taylor", [2.0, 5.0]),
    ],
)
def test_scores_are_those_of_the_formula(name: str, scores: list[float]) -> None:
    assert importance.importance_named(name)(evidence()).tolist() == pytest.approx(scores)


def test_random_is_of_the_seed() -> None:
    assert torch.equal(importance.random(evidence(3)), importance.random(evidence(3)))
    assert not torch.equal(importance.random(evidence(3)), importance.random(evidence(4)))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="importance 'tailor'") as caught:
        importance.importance_named("tailor")
    assert "did you mean 'taylor'" in str(caught.value)
