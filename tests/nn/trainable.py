"""A small classifier with batch norm and dropout, its data, and one way to train it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lissom.nn.calls import Call
from lissom.nn.losses import default_loss
from lissom.nn.progress import TrainResult
from lissom.nn.train import train
from lissom.nn.training import Training
from lissom.training_data import TrainingData

CALL = Call(("x",))


def points(rows: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Rows of eight numbers whose first two decide the class, 0 to 2."""
    x = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
        )


def by_labels(module: nn.Module, inputs: dict, targets: torch.Tensor) -> torch.Tensor:
    return default_loss(CALL(module, inputs), targets)


def bits(module: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in module.state_dict().values())


def trained(
    config: Training, folder: Path | None = None, module: nn.Module | None = None, **more
) -> tuple[nn.Module, TrainResult]:
    module = network() if module is None else module
    data = more.pop("data", None) or TrainingData.of(points())
    result = train(module, data.bind(["x"]), by_labels, config, folder=folder, **more)
    return module, result


class Stop(Exception):
    """Stands for whatever ends a process."""
