"""A small trained classifier, its data, and the recipe that prunes, distills and quantizes it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import lissom

CLASSES = 4


class Net(nn.Module):
    """Two convolutions with batch norms, pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(32)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.first_norm(self.first(images)))
        out = torch.relu(self.second_norm(self.second(out)))
        return self.head(out.mean((2, 3)))


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with one bright stripe, whose direction and place are the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.normal(0, 0.5, (count, 3, 8, 8)).astype(np.float32)
    for i, label in enumerate(labels):
        place = 1 + rng.integers(0, 2) + 3 * (label % 2)
        if label < 2:
            images[i, :, place, :] += 1
        else:
            images[i, :, :, place] += 1
    return images, labels


def factory() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The network after a short training of its own, the same each time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Net()
    images, labels = (torch.from_numpy(array) for array in data(512, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for start in [*range(0, 512, 64)] * 6:
        part = slice(start, start + 64)
        loss = nn.functional.cross_entropy(net(images[part]), labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval(), {"images": images[:2]}


def task() -> lissom.Task:
    """Training, calibration and validation data."""
    images, labels = data(256, 3)
    return lissom.Task(
        calibration=[{"images": data(64, 2)[0]}],
        validation=({"images": images}, labels),
        train=({"images": data(512, 1)[0]}, data(512, 1)[1]),
        metric="accuracy",
    )
