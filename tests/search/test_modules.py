"""Which module a layer was: by its own parameter, or by the name that the exporter kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lissom.search.modules import modules_of
from tests import models


def test_a_graph_of_nobody_has_no_modules(tmp_path: Path) -> None:
    assert modules_of(models.saved(models.mlp(), tmp_path / "model.onnx")) == {}


def test_folded_and_kept_parameters_are_found(tmp_path: Path) -> None:
    path = models.saved(models.mlp(), tmp_path / "model.onnx")
    names = {
        "net.first.weight": {"initializer": "fc1.weight"},
        "net.norm.weight": {"initializer": None},
        # Something was folded into it, and the exporter called it after the parameter.
        "fc2.weight": {"initializer": None},
    }
    (tmp_path / "names.json").write_text(json.dumps(names), encoding="utf-8")
    assert modules_of(path) == {"fc1.product/MatMul": "net.first", "fc2.product/MatMul": "fc2"}


@pytest.mark.parametrize(
    "beside",
    [
        '["cat", "dog"]',
        '{"0": "cat"}',
        '{"fc2.weight": {"initializer": ["fc2.weight"]}}',
        "{",
        b"\xff",
    ],
)
def test_names_that_export_did_not_write_are_somebody_elses(
    tmp_path: Path, beside: str | bytes
) -> None:
    path = models.saved(models.mlp(), tmp_path / "model.onnx")
    (tmp_path / "names.json").write_bytes(beside.encode() if isinstance(beside, str) else beside)
    assert modules_of(path) == {}


def test_a_folder_of_that_name_holds_no_names(tmp_path: Path) -> None:
    (tmp_path / "names.json").mkdir()
    assert modules_of(models.saved(models.mlp(), tmp_path / "model.onnx")) == {}


def test_an_exported_network_has_the_names_of_its_modules(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from lissom.model import open_model
    from lissom.nn.export import export

    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(4 * 36, 5),
    )  # fmt: skip
    done = export(open_model(network.eval(), example_inputs=torch.zeros(2, 3, 8, 8)), tmp_path)
    assert sorted(modules_of(done.path).values()) == ["0", "4"]
