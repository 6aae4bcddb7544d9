"""Exports take seconds each, so the tests of one network share one export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lissom.model import open_model
from lissom.nn.export import Export, export

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}

CNN = """
import torch
from torch import nn

def build():
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )
    net.train()
    return net, torch.randn(1, 3, 12, 10)
"""


class Exported(NamedTuple):
    """A network's folder or file, the module it came from where a test has it, its export."""

    source: Path
    module: Any
    result: Export


def sentence_encoder(folder: Path, pooling: dict[str, bool]) -> Any:
    """Write a tiny BERT as a sentence-transformers folder; the model is returned."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**SMALL)).eval()
    model.save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [{"path": path, "type": f"sentence_transformers.models.{k}"} for path, k in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return model


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("tiny_encoder")
    model = sentence_encoder(
        folder, {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    )
    return Exported(folder, model, export(open_model(folder), folder / "out"))


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    pytest.importorskip("torch")
    file = tmp_path_factory.mktemp("cnn") / "tiny_cnn.py"
    file.write_text(CNN)
    model = open_model(f"{file}:build")
    result = export(model, file.parent / "out")
    assert model.factory is not None
    return Exported(file, model.factory().module, result)
