"""Torch to ONNX: sizes stay dynamic, numbers agree with torch, names say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from lissom.errors import ModelError
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Settings
from lissom.model import TensorSpec, inputs_of, open_model
from lissom.nn.export import export
from tests.nn.conftest import Exported

torch = pytest.importorskip("torch")


class Ports(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Two inputs; outputs that are an input, one tensor twice, and a nested pair."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 4)

    def forward(self, x: Any, embedding: Any) -> dict[str, Any]:
        y = self.linear(x) + embedding
        return {"linear": x, "sum": y, "again": y, "pair": [y + 1, y * 2]}


class FixedBatch(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x.reshape(2, 8) * 2


class Branch(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


class Broken(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x / torch.zeros(8) * 0


def run(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)


def test_a_factory_gets_a_dynamic_batch_and_computes_what_torch_does(cnn: Exported) -> None:
    result = cnn.result
    assert result.inputs == (TensorSpec("input", "float32", ("batch", 3, 12, 10)),)
    assert result.outputs == (TensorSpec("output", "float32", ("batch", 4)),)
    assert result.relative < 1e-5
    assert result.notes == ()
    images = torch.randn(5, 3, 12, 10)
    with torch.no_grad():
        expected = cnn.module.eval()(images).numpy()
    np.testing.assert_allclose(run(result.path, {"input": images.numpy()})[0], expected, atol=1e-5)


def test_the_file_is_opset_21_and_names_no_folder_of_this_machine(cnn: Exported) -> None:
    model = onnx.load(cnn.result.path)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 21
    data = cnn.result.path.read_bytes()
    assert str(Path(torch.__file__).parent.parent).encode() not in data
    assert str(cnn.source.parent).encode() not in data


def test_the_same_network_gives_the_same_bytes(cnn: Exported, tmp_path: Path) -> None:
    again = export(open_model(f"{cnn.source}:build"), tmp_path)
    assert again.path.read_bytes() == cnn.result.path.read_bytes()
    assert (tmp_path / "names.json").read_text() == (
        cnn.result.path.parent / "names.json"
    ).read_text()


def test_ports_keep_their_names_and_the_module_its_mode(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module = Ports()
    module.linear.eval()
    x, embedding = torch.randn(1, 8), torch.randn(1, 4)
    result = export(open_model(module, example_inputs=(x, embedding)), tmp_path)
    assert [spec.name for spec in result.inputs] == ["x", "embedding"]
    names = [spec.name for spec in result.outputs]
    assert names == ["linear", "sum", "again", "pair_0", "pair_1"]
    assert all(spec.shape[0] == "batch" for spec in (*result.inputs, *result.outputs))
    got = dict(
        zip(names, run(result.path, {"x": x.numpy(), "embedding": embedding.numpy()}), strict=True)
    )
    np.testing.assert_array_equal(got["linear"], x.numpy())
    np.testing.assert_allclose(got["pair_1"], got["again"] * 2, rtol=1e-6)
    assert (module.training, module.linear.training) == (True, False)
    assert capfd.readouterr() == ("", "")


def test_a_network_of_one_size_is_exported_with_a_note(tmp_path: Path) -> None:
    result = export(open_model(FixedBatch(), example_inputs=torch.randn(2, 8)), tmp_path)
    assert result.inputs[0].shape == (2, 8)
    assert "exactly these sizes: x [2, 8]" in result.notes[0]
    assert "inferred a static shape of 2" in result.notes[0]


def test_axes_that_were_asked_for_are_not_given_up(tmp_path: Path) -> None:
    model = open_model(
        FixedBatch(), example_inputs=torch.randn(2, 8), dynamic_axes={"x": {0: "batch"}}
    )
    with pytest.raises(ModelError, match="torch cannot export FixedBatch"):
        export(model, tmp_path)


def test_a_branch_on_values_is_refused_with_the_users_line_and_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        export(open_model(Branch(), example_inputs=torch.randn(2, 8)), tmp_path)
    assert "torch cannot export Branch to ONNX" in caught.value.what
    assert "return x if x.sum() > 0 else -x" in (caught.value.where or "")
    assert capfd.readouterr() == ("", "")


def test_a_network_that_gives_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the torch module gives NaN"):
        export(open_model(Broken(), example_inputs=torch.randn(2, 8)), tmp_path)


class Positions(torch.nn.Module):
    """As many positions as its table has rows, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(10, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table[: x.shape[1]]


def test_an_axis_with_a_range_is_checked_inside_of_it(tmp_path: Path) -> None:
    x = torch.randn(2, 8, 4)
    axes = {"x": {0: "batch", 1: ("sequence", 2, 10)}}
    ranged = export(open_model(Positions(), example_inputs=x, dynamic_axes=axes), tmp_path / "a")
    assert ranged.inputs[0].shape == ("batch", "sequence", 4)
    assert ranged.notes == ()
    # Who makes up an input for the file finds the range in it.
    assert example_feeds(inputs_of(ranged.path), Settings())["x"].shape == (1, 10, 4)
    open_ended = {"x": {0: "batch", 1: "sequence"}}
    other = open_model(Positions(), example_inputs=x, dynamic_axes=open_ended)
    assert "checked at one size only" in export(other, tmp_path / "b").notes[0]
