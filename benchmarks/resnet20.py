"""CIFAR ResNet-20 (He et al. 2015, option-A shortcuts) and CIFAR-10 as JPEG, for the benchmarks.

The folder with the data is named by the environment variable LISSOM_DATA, so that `factory` and
`task` can be used on the command line:

    LISSOM_DATA=DATA_FOLDER lissom run prune-distill-quantize \\
        --model benchmarks/resnet20.py:factory --task benchmarks/resnet20.py:task
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import lissom

MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
BATCH = 128
PAD = 4


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.widen = stride, (outputs - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.widen:
            x = functional.pad(
                x[:, :, :: self.stride, :: self.stride], (0,) * 4 + (self.widen,) * 2
            )
        return functional.relu(out + x)


class ResNet20(nn.Module):
    """Three stages of three blocks, 16, 32 and 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        blocks = [Block(inputs, outputs, stride)]
        return nn.Sequential(*blocks, *(Block(outputs, outputs, 1) for _ in range(2)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(out.mean((2, 3)))


def data_folder() -> Path:
    """The folder that LISSOM_DATA names."""
    return Path(os.environ["LISSOM_DATA"])


def factory() -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, dict[int, str]]]:
    """The trained network: 87.76 % on the test images."""
    module = ResNet20()
    module.load_state_dict(load_file(data_folder() / "resnet20-cifar10-jpeg.safetensors"))
    return module.eval(), {"images": torch.zeros(2, 3, 32, 32)}, {"images": {0: "batch"}}


@cache
def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) int64 of "train" or "test"."""
    with np.load(data_folder() / f"cifar10-{part}.npz") as file:
        blob, offsets, labels = file["blob"], file["offsets"], file["labels"]
    pixels = np.stack(
        [
            np.asarray(Image.open(io.BytesIO(blob[start:end].tobytes())).convert("RGB"))
            for start, end in itertools.pairwise(offsets)
        ]
    )
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels.astype(np.int64)


def normalized(pixels: np.ndarray) -> np.ndarray:
    """What the network takes: float32, as it was trained."""
    return (pixels.astype(np.float32) / 255 - MEAN) / STD


class Augmented:
    """Training batches, shuffled, mirrored and shifted; numpy's global generator decides how."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.labels) // BATCH

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        order = np.random.permutation(len(self.labels))
        for start in range(0, len(self) * BATCH, BATCH):
            rows = order[start : start + BATCH]
            yield {"images": normalized(_shifted(self.pixels[rows]))}, self.labels[rows]


def _shifted(pixels: np.ndarray) -> np.ndarray:
    padded = np.pad(pixels, ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)))
    down, right = np.random.randint(0, 2 * PAD + 1, (2, len(pixels)))
    mirrored = np.random.rand(len(pixels)) < 0.5
    found = np.empty_like(pixels)
    for i in range(len(pixels)):
        cut = padded[i, :, down[i] : down[i] + 32, right[i] : right[i] + 32]
        found[i] = cut[:, :, ::-1] if mirrored[i] else cut
    return found


def task() -> lissom.Task:
    """Train on all training images, calibrate on 1,024 of them, judge on all test images."""
    train, labels = images("train")
    test, truth = images("test")
    drawn = np.random.default_rng(0).permutation(len(labels))[:1024]
    return lissom.Task(
        calibration=[{"images": normalized(train[drawn[i : i + 64]])} for i in range(0, 1024, 64)],
        validation=lambda: (
            ({"images": normalized(test[i : i + 500])}, truth[i : i + 500])
            for i in range(0, len(truth), 500)
        ),
        train=Augmented(train, labels),
        metric="accuracy",
        name="CIFAR-10 (JPEG), all 10,000 test images",
    )
