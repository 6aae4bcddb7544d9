from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lissom.nn.surgery import cut  # noqa: E402

NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.mark.parametrize(
    ("layer", "cuts", "expected", "x"),
    [
        (nn.Conv2d(4, 6, 3), [("weight", 0, (1, 4)), ("bias", 0, (1, 4)), ("weight", 1, (0, 3))],
         {"in_channels": 2, "out_channels": 2, "groups": 1}, (1, 2, 5, 5)),
        (nn.Conv2d(4, 8, 3, groups=4), [("weight", 0, (0, 1, 6, 7)), ("bias", 0, (0, 1, 6, 7))],
         {"in_channels": 2, "out_channels": 4, "groups": 2}, (1, 2, 5, 5)),
        (nn.Conv2d(8, 8, 3, groups=2, bias=False), [("weight", 1, (0, 2, 3))],
         {"in_channels": 6, "out_channels": 8, "groups": 2}, (1, 6, 5, 5)),
        (nn.Linear(5, 4), [("weight", 1, (0, 4))], {"in_features": 2, "out_features": 4}, (3, 2)),
        (nn.LayerNorm(5), [("weight", 0, (0, 4)), ("bias", 0, (0, 4))],
         {"normalized_shape": (2,)}, (3, 2)),
        (nn.BatchNorm2d(3), [(name, 0, (2,)) for name in NORM],
         {"num_features": 1}, (2, 1, 4, 4)),
    ],
)  # fmt: skip
def test_a_cut_layer_knows_its_size_and_runs(
    layer: nn.Module,
    cuts: list[tuple[str, int, tuple[int, ...]]],
    expected: dict[str, object],
    x: tuple[int, ...],
) -> None:
    tensors = {name: value.clone() for name, value in layer.state_dict().items()}
    cut(layer, cuts)
    assert {name: getattr(layer, name) for name in expected} == expected
    layer.eval()(torch.randn(x))
    for name in {name for name, _, _ in cuts}:
        for _, axis, kept in [each for each in cuts if each[0] == name]:
            tensors[name] = tensors[name].index_select(axis, torch.tensor(kept))
        assert torch.equal(getattr(layer, name), tensors[name])
        assert getattr(layer, name).is_contiguous()


def test_frozen_weights_stay_frozen() -> None:
    layer = nn.Linear(3, 2).requires_grad_(False)
    cut(layer, [("weight", 1, (0, 1))])
    assert not layer.weight.requires_grad
