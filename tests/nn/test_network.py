from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402

from lissom.errors import ModelError  # noqa: E402
from lissom.nn.coupling import couple  # noqa: E402
from lissom.nn.edits import removal  # noqa: E402
from lissom.nn.network import TorchModel, load_torch, save_torch  # noqa: E402
from tests.nn.networks import build, model_of  # noqa: E402


def pruned(name: str) -> TorchModel:
    model = build(name)
    places = [p for group in couple(model).groups for p in group.channels[0]]
    return model.edited(*removal(places, model.module))


@pytest.mark.parametrize("name", ["padded", "mobile", "grouped", "transformer"])
def test_what_was_saved_comes_back_on_a_fresh_original(name: str, tmp_path: Path) -> None:
    model = pruned(name)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(0.01)
    save_torch(model, tmp_path)
    back = load_torch(build(name).network, tmp_path)
    inputs = list(model.example_inputs.values())
    torch.testing.assert_close(back.module(*inputs), model.module(*inputs), rtol=0, atol=0)
    assert back.edits == model.edits
    assert str(back.module) == str(model.module)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        save_torch(pruned("flat"), folder)
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert files[0] == files[1]
    assert set(files[0]) == {"weights.safetensors", "edits.json"}


def test_edits_on_edits_are_replayed_in_order(tmp_path: Path) -> None:
    once = pruned("flat")
    places = [p for group in couple(once).groups for p in group.channels[-1]]
    save_torch(once.edited(*removal(places, once.module)), tmp_path)
    back = load_torch(build("flat").network, tmp_path)
    assert back.module.stem[0].out_channels == 8


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(torch.relu(self.a(x))))

    model = model_of(Tied(), torch.randn(2, 6))
    save_torch(model, tmp_path)
    assert "b.weight" not in load_file(tmp_path / "weights.safetensors")
    back = load_torch(model_of(Tied(), torch.randn(2, 6)).network, tmp_path)
    assert back.module.a.weight is back.module.b.weight
    torch.testing.assert_close(back.module.a.weight, model.module.a.weight)


EDIT = {"kind": "keep_channels", "of": 10, "kept": [0, 2], "axes": [["stem.0.weight", 0]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kept": [0, 10]}, "stay below 10"),
        ({"kept": [-1]}, "greater than or equal to 0"),
        ({"kept": [2, 0]}, "must rise"),
        ({"kept": []}, "at least 1"),
        ({"kept": [0.5]}, "integer"),
        ({"of": 11, "kept": [0]}, "of size 11"),
        ({"axes": [["nowhere.weight", 0]]}, "does not have"),
        ({"axes": [["stem.0.weight", 9]]}, "axis 9"),
        ({"axes": [["stem.0.weight", 0], ["stem.0.weight", 0]]}, "twice"),
        ({"kind": "run_code"}, "keep_channels"),
        ({"more": 1}, "more"),
    ],
)
def test_hostile_edits_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    save_torch(build("flat"), tmp_path)
    (tmp_path / "edits.json").write_text(json.dumps({"format": 1, "edits": [EDIT | change]}))
    with pytest.raises(ModelError, match=message):
        load_torch(build("flat").network, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 2, "edits": []}', "\x80\x04."])
def test_what_is_no_list_of_edits_is_refused(text: str, tmp_path: Path) -> None:
    save_torch(build("flat"), tmp_path)
    (tmp_path / "edits.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match="not a list of edits"):
        load_torch(build("flat").network, tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_torch(pruned("flat"), tmp_path)
    path = tmp_path / "weights.safetensors"
    tensors = load_file(path)
    for change, message in (
        ({"head.bias": torch.zeros(6)}, "shape"),
        ({"head.bias": torch.zeros(5, dtype=torch.float64)}, "float64"),
        ({"more": torch.zeros(5)}, "'more'"),
    ):
        save_file(tensors | change, path)
        with pytest.raises(ModelError, match=message):
            load_torch(build("flat").network, tmp_path)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="cannot be read"):
        load_torch(build("flat").network, tmp_path)
    path.unlink()
    with pytest.raises(ModelError, match="not there"):
        load_torch(build("flat").network, tmp_path)


def test_a_pruned_network_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    import onnxruntime as ort

    from lissom.model import open_model
    from lissom.nn.export import export

    model = pruned("padded")
    opened = open_model(model.module, example_inputs=tuple(model.example_inputs.values()))
    made = export(opened, tmp_path)
    names = json.loads((tmp_path / "names.json").read_text())
    assert names["layer1.0.conv1.weight"]["shape"] == [7, 7, 3, 3]
    (x,) = model.example_inputs.values()
    (found,) = ort.InferenceSession(str(made.path)).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, model.module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


class Noted(nn.Linear):
    """A layer that keeps something besides tensors in its state."""

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        raise AssertionError("nothing of it is stored")


def test_extra_state_stays_that_of_the_original(tmp_path: Path) -> None:
    model = model_of(nn.Sequential(Noted(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(2, 4))
    save_torch(model, tmp_path)
    assert load_torch(model.network, tmp_path).module[0].get_extra_state() == {"seen": 3}
