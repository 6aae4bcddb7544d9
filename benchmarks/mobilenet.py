"""A small MobileNetV2 (Sandler et al. 2018) for CIFAR-10 as JPEG, and its training.

    python benchmarks/mobilenet.py DATA_FOLDER [--epochs 12] [--work FOLDER]

trains the network on all training images and leaves mobilenet.safetensors in the work folder;
killed, it goes on when it is run again. `factory` takes the weights from the folder that the
environment variable LISSOM_WORK names, and `task` the images from LISSOM_DATA:

    LISSOM_DATA=DATA_FOLDER LISSOM_WORK=FOLDER lissom compress benchmarks/mobilenet.py:factory \\
        --task benchmarks/mobilenet.py:task
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from resnet20 import Augmented, images, task
from safetensors.torch import load_file, save_file
from torch import nn

from lissom.nn.calls import Call
from lissom.nn.evaluate import evaluate
from lissom.nn.losses import default_loss
from lissom.nn.train import train
from lissom.nn.training import Training
from lissom.training_data import TrainingData

__all__ = ["MobileNet", "factory", "task"]
WORK = Path("benchmark-work/mobilenet")
WEIGHTS = "mobilenet.safetensors"
# Expansion, channels, blocks and first stride of each stage; 32 x 32 images become 4 x 4.
STAGES = ((1, 16, 1, 1), (3, 24, 2, 2), (6, 32, 3, 2), (6, 64, 3, 1), (6, 96, 2, 2))
STEM, HEAD = 16, 320
CALL = Call(("images",))


def layer(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list:
    """A convolution that keeps the size, and its batch norm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; a shortcut between the narrow ends."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        widen = [*layer(inputs, wide, 1), nn.ReLU6()] if expansion > 1 else []
        filters = [*layer(wide, wide, 3, stride, groups=wide), nn.ReLU6()]
        self.layers = nn.Sequential(*widen, *filters, *layer(wide, outputs, 1))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class MobileNet(nn.Module):
    """Five stages of inverted residuals between a 3 x 3 stem and a 1 x 1 head."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [*layer(3, STEM, 3), nn.ReLU6()]
        inputs = STEM
        for expansion, outputs, blocks, stride in STAGES:
            for block in range(blocks):
                first = stride if block == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, first, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, *layer(inputs, HEAD, 1), nn.ReLU6())
        self.classifier = nn.Linear(HEAD, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).mean((2, 3)))


def factory() -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, dict[int, str]]]:
    """The trained network."""
    module = MobileNet()
    module.load_state_dict(load_file(Path(os.environ.get("LISSOM_WORK", WORK)) / WEIGHTS))
    return module.eval(), {"images": torch.zeros(2, 3, 32, 32)}, {"images": {0: "batch"}}


def training(epochs: int) -> Training:
    """Settings of the training: one cycle of the learning rate (Smith and Topin 2018)."""
    return Training(
        epochs=epochs,
        optimizer="SGD",
        lr=0.02,
        weight_decay=1e-4,
        optimizer_options={"momentum": 0.9, "nesterov": True},
        schedule="OneCycleLR",
        schedule_options={"max_lr": 0.3, "pct_start": 0.25, "div_factor": 10.0},
        keep="last",
        checkpoint_steps=100,
    )


def trained(epochs: int, work: Path) -> MobileNet:
    """The network after its training; what was done before is not done again."""
    torch.manual_seed(0)
    # Convolutions are a third faster with channels last.
    module = MobileNet().to(memory_format=torch.channels_last)
    train(
        module,
        TrainingData.of(Augmented(*images("train"))).bind(CALL.names),
        lambda network, inputs, targets: default_loss(CALL(network, inputs), targets),
        training(epochs),
        folder=work / "training",
        track=epochs_told,
    )
    return module


def epochs_told(items: Iterable, label: str, total: int | None = None) -> Iterator:
    """Progress as one line an epoch."""
    for item in items:
        if label == "train":
            print(f"epoch {item.number + 1}", flush=True)
        yield item


def main() -> None:
    """Train, save, and print the accuracy on the test images."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--epochs", type=int, default=12)
    arguments.add_argument("--work", type=Path, default=WORK)
    chosen = arguments.parse_args()
    os.environ["LISSOM_DATA"] = str(chosen.data.resolve())
    chosen.work.mkdir(parents=True, exist_ok=True)
    module = trained(chosen.epochs, chosen.work)
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, chosen.work / WEIGHTS)
    print(f"{100 * evaluate(module, task(), CALL):.2f} % of the test images", flush=True)


if __name__ == "__main__":
    main()
