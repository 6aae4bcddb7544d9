from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lissom.errors import ModelError  # noqa: E402
from lissom.factory import from_module  # noqa: E402
from lissom.nn.coupling import couple  # noqa: E402
from lissom.nn.edits import removal  # noqa: E402
from lissom.nn.network import TorchModel  # noqa: E402
from lissom.nn.surgery import tensors_of  # noqa: E402
from lissom.nn.trial import proven  # noqa: E402
from tests.nn.networks import NETWORKS, alive, build, model_of  # noqa: E402

GROUPS = {
    "padded": {
        "conv1": 8,
        "layer1.0.conv1": 8,
        "layer1.1.conv1": 8,
        "layer2.conv1": 16,
    },
    "flat": {
        "stem.0": 10,
        "blocks.0.a": 6,
        "blocks.0.b": 6,
        "blocks.1.a": 6,
        "blocks.1.b": 6,
        "blocks.1.c": 12,
    },
    "mobile": {"stem": 8, "block.up": 24, "block.squeeze": 4},
    "dense": {"first": 8, "grow1": 6, "grow2": 6},
    "grouped": {"a": 4, "b": 8, "c": 6},
    "transformer": {"embed": 16, "up": 24},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_that_can_lose_channels_is_found(name: str) -> None:
    groups = couple(build(name)).groups
    assert {group.name: len(group.channels) for group in groups} == GROUPS[name]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "transformer"])
def test_without_channels_it_computes_what_it_did_with_nobody_reading_them(name: str) -> None:
    model = build(name)
    groups = couple(model).groups
    places = [place for group in groups for channel in group.channels[1::3] for place in channel]
    silenced = copy.deepcopy(model.module)
    tensors = tensors_of(silenced)
    used = {axis for group in groups for axis in group.used}
    with torch.no_grad():
        for tensor, axis, position in places:
            if (tensor, axis) in used:
                tensors[tensor].select(axis, position).zero_()
        pruned = model.edited(*removal(places, model.module))
        (x,) = model.example_inputs.values()
        torch.testing.assert_close(pruned.module(x), silenced(x), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in pruned.module.parameters()) < 0.75 * sum(
        p.numel() for p in model.module.parameters()
    )


def test_zero_padded_channels_stay_because_the_code_counts_them() -> None:
    whole = {each.layer: each for each in couple(build("padded")).whole}
    assert str(whole["layer2.conv2"]) == (
        "layer2.conv2 (8 of its 16 channels) is kept whole: "
        "pad in layer2 adds a fixed number of channels beside it"
    )
    assert "output of the network" in whole["linear"].reason


def test_attention_heads_of_fixed_size_stay() -> None:
    (reason,) = [each.reason for each in couple(build("transformer")).whole if each.layer == "qkv"]
    assert "split" in reason


def test_a_vision_transformer_loses_neurons_and_stream_but_not_heads() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=16,
        patch_size=8,
        num_labels=3,
    )
    vit = transformers.ViTForImageClassification(config).eval()
    coupling = couple(model_of(vit, {"pixel_values": torch.randn(2, 3, 16, 16)}))
    assert sorted(len(group.channels) for group in coupling.groups) == [16, 24]
    assert any("q_proj" in each.layer or "query" in each.layer for each in coupling.whole)


def test_an_unknown_operator_holds_what_enters_it() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.relu(self.b(torch.renorm(self.a(x), 2, 1, 1.0))))

    coupling = couple(model_of(alive(Sorted()), torch.randn(2, 4)))
    assert [group.name for group in coupling.groups] == ["b"]
    assert "renorm" in next(each.reason for each in coupling.whole if each.layer == "a")


def test_products_are_counted() -> None:
    coupling = couple(build("grouped"))
    positions = {layer.weight: layer.positions for layer in coupling.layers}
    # Two images of 16 x 16 positions.
    assert positions == {"a.weight": 512, "b.weight": 512, "c.weight": 512, "head.weight": 2}
    # Two products of 2 images x 2 heads x 7 x 7 positions x 8.
    assert couple(build("transformer")).fixed_macs == 2 * (2 * 2 * 7 * 7 * 8)


def test_a_network_with_branches_on_values_is_refused() -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match="cannot trace"):
        couple(model_of(Branch(), torch.randn(2, 4)))


class Around(nn.Module):
    """Two convolutions, and something between them."""

    def __init__(self, between: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.b(self.between(torch.relu(self.a(x)))))
        return self.head(x.mean((2, 3)))


WEIGHTED = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1))


@pytest.mark.parametrize(
    ("between", "follows"),
    [
        (lambda x: x * x.max(dim=3, keepdim=True).values, True),
        (lambda x: x * x.max(dim=1, keepdim=True).values, False),
        (lambda x: torch.roll(x, 5, dims=2), True),
        (lambda x: torch.roll(x, 1, dims=1), False),
        (lambda x: torch.roll(x, 1), False),
        (lambda x: x.topk(5, dim=2).values, True),
        (lambda x: x.topk(8, dim=1).values, False),
        (lambda x: x.sort(dim=2).values, True),
        (lambda x: nn.functional.max_pool2d(x, 2, return_indices=True)[0], True),
        (WEIGHTED, False),
    ],
)
def test_operators_with_several_results_or_other_arguments(
    between: Callable[[torch.Tensor], torch.Tensor], follows: bool
) -> None:
    module = Around(between).eval()
    model = TorchModel.of(from_module(module, torch.randn(2, 3, 8, 8))())
    found = proven(model, couple(model))
    assert ("a" in {group.name for group in found.groups}) == follows
    assert "b" in {group.name for group in found.groups}
