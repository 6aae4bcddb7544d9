from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lissom import Task  # noqa: E402
from lissom.errors import RequestError  # noqa: E402
from lissom.factory import from_module  # noqa: E402
from lissom.nn.network import TorchModel, load_torch, save_torch  # noqa: E402
from lissom.prune.importance import Evidence  # noqa: E402
from lissom.prune.structured import StructuredPruning, structured  # noqa: E402
from lissom.technique import Context, find_technique  # noqa: E402
from tests.nn.networks import NETWORKS, build  # noqa: E402


def images(name: str = "flat", count: int = 48) -> np.ndarray:
    (example,) = build(name).example_inputs.values()
    draw = np.random.default_rng(0)
    return draw.normal(size=(count, *example.shape[1:])).astype(np.float32)


def context(name: str = "flat", *, seed: int = 0, train: bool = False) -> Context:
    x = images(name)
    labels = np.arange(len(x)) % 4
    extra: dict[str, Any] = {"train": ({"x": x}, labels)} if train else {}
    task = Task(calibration={"x": x}, batch_size=16, **extra)
    return Context(calibration=task.calibration, task=task, seed=seed)


def prune(name: str, *, seed: int = 0, train: bool = False, **settings: Any) -> TorchModel:
    config = StructuredPruning(**settings)
    return structured(build(name), config, context(name, seed=seed, train=train))


def far(model: TorchModel, name: str) -> float:
    """Relative error of the output on data that were not calibrated on."""
    x = torch.from_numpy(np.random.default_rng(9).normal(size=images(name).shape)).float()
    with torch.no_grad():
        right, found = build(name).module(x), model.module(x)
    return float((found - right).square().mean() / (right - right.mean(0)).square().mean())


@pytest.mark.parametrize("name", NETWORKS)
def test_half_the_products_go_and_the_rest_runs_dense(name: str) -> None:
    model, pruned = build(name), prune(name, macs=0.4, residual=True)
    (x,) = model.example_inputs.values()
    assert pruned.module(x).shape == model.module(x).shape
    assert "removed 4" in pruned.notes[0] or "removed 5" in pruned.notes[0]
    assert sum(p.numel() for p in pruned.module.parameters()) < sum(
        p.numel() for p in model.module.parameters()
    )


def test_products_are_those_a_counter_of_torch_sees() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def flops(model: TorchModel) -> int:
        with FlopCounterMode(display=False) as counter:
            model.run(model.example_inputs)
        return int(counter.get_total_flops())

    pruned = prune("flat", macs=0.5, importance="l2", correct=False)
    share = 1 - flops(pruned) / flops(build("flat"))
    assert share >= 0.5
    assert f"removed {share:.1%} of" in pruned.notes[0]


@pytest.mark.parametrize("importance", ["reconstruction", "l1", "random"])
@pytest.mark.parametrize("name", ["padded", "flat", "dense", "mobile"])
def test_correction_at_least_halves_the_error(name: str, importance: str) -> None:
    plain = prune(name, macs=0.4, importance=importance, correct=False)
    fitted = prune(name, macs=0.4, importance=importance, correct=True)
    assert far(fitted, name) < 0.5 * far(plain, name)
    assert fitted.edits == plain.edits


def test_nothing_changes_at_ratio_nought() -> None:
    model, pruned = build("padded"), prune("padded", channels=0.0)
    (x,) = model.example_inputs.values()
    assert torch.equal(pruned.module(x), model.module(x))
    assert pruned.edits == ()


def test_what_is_kept_is_named_with_its_reason() -> None:
    notes = prune("padded", macs=0.15, keep=("layer1.*",)).notes
    assert any(note.startswith("layer2.conv1: ") for note in notes)
    assert any("layer2.conv2 (8 of its 16 channels) is kept whole" in note for note in notes)
    assert not any(note.startswith("layer1.0.conv1: ") for note in notes)


def test_what_every_block_reads_is_left_alone_unless_asked_for() -> None:
    def left(**settings: Any) -> set[str]:
        pruned = prune("transformer", importance="l2", correct=False, **settings)
        return {axis[0] for edit in pruned.edits for axis in edit.axes}

    inside, everywhere = left(channels=0.3), left(channels=0.3, residual=True)
    assert inside < everywhere
    notes = prune("transformer", channels=0.3).notes
    assert any("blocks add to it (residual: true)" in note for note in notes)
    with pytest.raises(RequestError, match="would empty") as refused:
        prune("transformer", macs=0.9)
    assert "residual: true also removes" in str(refused.value)


def test_a_few_samples_that_say_too_little_change_nothing() -> None:
    def fitted(count: int) -> TorchModel:
        x = images("flat", count)
        given = Context(calibration=Task(calibration={"x": x}, batch_size=2).calibration)
        return structured(build("flat"), StructuredPruning(macs=0.4, importance="l1"), given)

    plain = far(prune("flat", macs=0.4, importance="l1", correct=False), "flat")
    errors = [far(fitted(count), "flat") for count in (4, 8, 48)]
    assert max(errors) <= plain
    assert errors[-1] < 0.5 * plain


def test_a_training_step_starts_from_what_the_correction_left() -> None:
    pruned = prune("flat", macs=0.4)
    x = torch.from_numpy(images("flat"))
    with torch.no_grad():
        still = pruned.module.eval()(x)
        trained = pruned.module.train()(x)
    pruned.module.eval()
    assert float((still - trained).square().mean() / still.var()) < 1e-3


def test_what_is_left_is_a_multiple() -> None:
    pruned = prune("padded", channels=0.4, multiple_of=4, correct=False)
    widths = {part.out_channels for part in pruned.module.modules() if hasattr(part, "groups")}
    assert widths <= {4, 8, 12, 16}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def files(folder: str, seed: int) -> tuple[bytes, bytes]:
        place = tmp_path / folder
        place.mkdir()
        save_torch(prune("flat", macs=0.5, importance="random", seed=seed), place)
        return (place / "edits.json").read_bytes(), (place / "weights.safetensors").read_bytes()

    assert files("a", 1) == files("b", 1)
    assert files("c", 2)[0] != files("d", 1)[0]


def test_a_pruned_network_is_rebuilt_from_its_files(tmp_path: Path) -> None:
    pruned = prune("grouped", macs=0.5)
    save_torch(pruned, tmp_path)
    back = load_torch(build("grouped").network, tmp_path)
    (x,) = pruned.example_inputs.values()
    assert torch.equal(back.module(x), pruned.module(x))


def test_taylor_learns_from_training_data_and_leaves_no_trace() -> None:
    with pytest.raises(RequestError, match="training data"):
        prune("flat", macs=0.5, importance="taylor")
    pruned = prune("flat", macs=0.5, importance="taylor", train=True)
    assert all(p.grad is None and p.requires_grad for p in pruned.module.parameters())


def middle(evidence: Evidence) -> torch.Tensor:
    return torch.arange(evidence.channels).float()


def test_an_importance_of_ones_own() -> None:
    pruned = prune("flat", channels=0.5, importance=middle, correct=False, residual=True)
    kept = {axis: edit.kept for edit in pruned.edits for axis in edit.axes}
    assert kept["stem.0.weight", 0] == (5, 6, 7, 8, 9)
    assert (
        StructuredPruning(macs=0.5, importance=middle)
        .model_dump(mode="json")["importance"]
        .startswith("middle ")
    )
    with pytest.raises(RequestError, match="one finite number"):
        prune("flat", channels=0.5, importance=lambda evidence: torch.full((2,), torch.nan))


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 7.0, float("nan")])
def test_a_ratio_outside_is_refused(ratio: float) -> None:
    with pytest.raises(RequestError, match=r"\[0, 1\)"):
        StructuredPruning(macs=ratio)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="either macs or channels"):
        StructuredPruning()
    with pytest.raises(ValidationError, match="either macs or channels"):
        StructuredPruning(macs=0.5, channels=0.5)
    with pytest.raises(RequestError, match="did you mean 'l1'"):
        StructuredPruning(macs=0.5, importance="l11")
    with pytest.raises(RequestError, match="matches no module"):
        prune("flat", macs=0.5, keep=("nowhere.*",))
    with pytest.raises(RequestError, match="would empty the layer"):
        prune("flat", macs=0.999)
    with pytest.raises(RequestError, match="calibration"):
        structured(build("flat"), StructuredPruning(macs=0.5), Context())


def test_it_is_in_the_table_and_has_a_schema() -> None:
    assert find_technique("prune.structured").form == "torch"
    assert "macs" in StructuredPruning.model_json_schema()["properties"]


def test_the_config_knows_the_importances_without_importing_torch() -> None:
    from lissom.prune.importance import IMPORTANCES
    from lissom.prune.structured import NAMED

    assert set(NAMED) == set(IMPORTANCES)
    source = "import sys, lissom.recipe.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0


class Borrowed(nn.Module):
    """Weights of layers that are never called, as attention uses those of its projections."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.linear(self.a(x).relu(), self.b.weight, self.b.bias)
        return self.c(x.relu())


def upsampling() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 2, stride=2),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
    )


def pruned_by_activations(module: nn.Module, *shape: int) -> TorchModel:
    x = torch.randn(64, *shape, generator=torch.Generator().manual_seed(0))
    model = TorchModel.of(from_module(module.eval(), x[:2])())
    (name,) = model.example_inputs
    calibration = Task(calibration={name: x.numpy()}).calibration
    return structured(model, StructuredPruning(channels=0.25), Context(calibration=calibration))


def test_layers_whose_weights_alone_are_used_are_pruned_and_not_corrected() -> None:
    torch.manual_seed(0)
    module = Borrowed()
    pruned = pruned_by_activations(module, 6)
    assert [*pruned.module.b.weight.shape] == [9, 12]
    kept = {axis: edit.kept for edit in pruned.edits for axis in edit.axes}
    rows, columns = list(kept["b.weight", 0]), list(kept["b.weight", 1])
    torch.testing.assert_close(pruned.module.b.weight, module.b.weight[rows][:, columns])


def test_the_channels_a_transposed_convolution_reads_least_go_first() -> None:
    torch.manual_seed(0)
    module = upsampling()
    with torch.no_grad():
        module[2].weight[[1, 6]] *= 1e-3
    pruned = pruned_by_activations(module, 3, 8, 8)
    kept = {axis: edit.kept for edit in pruned.edits for axis in edit.axes}
    assert kept["2.weight", 0] == (0, 2, 3, 4, 5, 7)


def test_training_data_without_labels_are_no_obstacle_to_weights() -> None:
    task = Task(calibration={"x": images()}, train={"x": images()})
    given = Context(calibration=task.calibration, task=task)
    config = StructuredPruning(macs=0.3, importance="l2")
    assert structured(build("flat"), config, given).edits


class Tied(nn.Module):
    """The layer that answers has the embedding's weights, and is named before or after it."""

    def __init__(self, first: str) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 24), nn.Linear(24, 16)
        parts = {"out": nn.Linear(16, 20, bias=False), "table": nn.Embedding(20, 16)}
        for name in sorted(parts, key=lambda name: name != first):
            self.add_module(name, parts[name])
        parts["out"].weight = parts["table"].weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.table(x)
        return self.out(x + self.b(self.a(x).relu()))


@pytest.mark.parametrize("first", ["out", "table"])
def test_weights_tied_to_an_embedding_are_cut_together_and_not_corrected(first: str) -> None:
    torch.manual_seed(0)
    module = Tied(first).eval()
    x = torch.randint(0, 20, (32, 5), generator=torch.Generator().manual_seed(0))
    model = TorchModel.of(from_module(module, x)())
    given = Context(calibration=Task(calibration={"x": x.numpy()}).calibration)
    pruned = structured(model, StructuredPruning(channels=0.25, residual=True), given)
    table = pruned.module.table.weight
    assert table is pruned.module.out.weight
    assert [*table.shape] == [20, 12]
    kept = {axis: edit.kept for edit in pruned.edits for axis in edit.axes}
    torch.testing.assert_close(table, module.table.weight[:, list(kept[f"{first}.weight", 1])])
