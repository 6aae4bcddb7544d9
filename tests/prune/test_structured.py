from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from lissom import Task  # noqa: E402
from lissom.errors import RequestError  # noqa: E402
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
    model, pruned = build(name), prune(name, macs=0.4)
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
    pruned = prune("flat", channels=0.5, importance=middle, correct=False)
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
