"""The original as one ONNX file: taken where it lies, or exported once."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lissom.model import Model, open_model
from lissom.recipe import run as running
from lissom.recipe.prepare import prepare
from lissom.recipe.store import Store
from lissom.technique import silent
from tests import models


def test_an_onnx_file_is_taken_where_it_lies(mlp_onnx: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    prepared = prepare(open_model(mlp_onnx), store, silent)
    assert prepared.built.path == mlp_onnx
    assert prepared.notes == ()
    assert list(store.steps.iterdir()) == []


def test_its_key_is_its_content(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    same = [models.saved(models.mlp(), tmp_path / name) for name in ("a.onnx", "b.onnx")]
    other = models.saved(models.mlp(seed=1), tmp_path / "c.onnx")
    keys = [prepare(open_model(path), store, silent).built.key for path in (*same, other)]
    assert keys[0] == keys[1] != keys[2]


def test_a_torch_model_is_exported_once_and_again_when_torch_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[Path] = []

    def export(model: Model, folder: Path, *, track: Any) -> Any:
        exported.append(folder)
        models.saved(models.mlp(), folder / "model.onnx")
        return SimpleNamespace(notes=("the outputs differ by 1e-7",))

    monkeypatch.setitem(sys.modules, "lissom.nn.export", types.ModuleType("lissom.nn.export"))
    monkeypatch.setattr(sys.modules["lissom.nn.export"], "export", export, raising=False)
    monkeypatch.setattr(Model, "digest", lambda self: "weights")
    store = Store(tmp_path / "store")
    model = Model("factory", "net.py:make")
    first = prepare(model, store, silent)
    again = prepare(model, store, silent)
    assert first == again
    assert first.notes == ("the outputs differ by 1e-7",)
    assert first.built.path.read_bytes()
    assert len(exported) == 1
    monkeypatch.setattr(running.importlib.metadata, "version", lambda name: "99.0")
    assert prepare(model, store, silent).built.key != first.built.key
    assert len(exported) == 2
