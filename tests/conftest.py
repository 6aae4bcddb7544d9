"""Fixtures shared by all tests: the models of tests/models.py, each in a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests import models

# Cores are shared, so no deadlines; and a run says the same twice, here and in CI.
settings.register_profile("lissom", deadline=None, derandomize=True)
settings.load_profile("lissom")


@pytest.fixture
def mlp_onnx(tmp_path: Path) -> Path:
    """A file with `models.mlp()`: input [batch, 16] -> logits [batch, 5]."""
    return models.saved(models.mlp(), tmp_path / "mlp.onnx")


@pytest.fixture
def depthwise_onnx(tmp_path: Path) -> Path:
    """A file with `models.depthwise()`: image [batch, 3, 32, 32] -> logits [batch, 10]."""
    return models.saved(models.depthwise(), tmp_path / "depthwise.onnx")


@pytest.fixture
def two_input_onnx(tmp_path: Path) -> Path:
    """A file with `models.two_input()`: features and ids -> logits [batch, 3]."""
    return models.saved(models.two_input(), tmp_path / "two_input.onnx")


@pytest.fixture
def encoder_onnx(tmp_path: Path) -> Path:
    """A file with `models.encoder()`: input_ids, attention_mask -> embedding [batch, 32]."""
    return models.saved(models.encoder(), tmp_path / "encoder.onnx")
