"""What the training loop costs beside a bare PyTorch loop: seconds per epoch, interleaved.

    python benchmarks/train_overhead.py [--rounds 6] [--rows 2048] [--epochs 2] [--threads 1]

The network is a small CNN (32 x 32 images), the data are in memory, the work is the same: the
same order, optimizer and schedule, the loss read after every step. lissom's loop does it with
checkpoints and its log on disk, and with images' channels last in memory: the bare loop is run as
it is usually written, and with channels last as well, which is what tells the loop's own cost.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from publish import facts, publish, table
from torch import nn

from lissom.nn.calls import Call
from lissom.nn.losses import default_loss
from lissom.nn.train import train
from lissom.nn.training import Training
from lissom.training_data import TrainingData

BATCH = 64
USUAL, LAST, OURS = "bare", "bare, channels last", "lissom"


def network() -> nn.Module:
    torch.manual_seed(0)

    def block(inside: int, outside: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]

    layers = [*block(3, 16, 1), *block(16, 16, 1), *block(16, 32, 2), *block(32, 64, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def bare(images: torch.Tensor, labels: torch.Tensor, epochs: int, *, last: bool) -> None:
    module = network().train()
    if last:
        module.to(memory_format=torch.channels_last)
    steps = len(images) // BATCH
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for index in range(steps):
            chosen = order[index * BATCH : (index + 1) * BATCH]
            loss = nn.functional.cross_entropy(module(images[chosen]), labels[chosen])
            loss.item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def ours(data: TrainingData, epochs: int, folder: Path) -> None:
    call = Call(("image",))
    config = Training(
        epochs=epochs,
        batch_size=BATCH,
        optimizer="SGD",
        lr=0.05,
        optimizer_options={"momentum": 0.9},
    )
    train(
        network(),
        data,
        lambda module, inputs, targets: default_loss(call(module, inputs), targets),
        config,
        folder=folder,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    wanted = parser.parse_args()
    random = np.random.default_rng(0)
    images = random.normal(size=(wanted.rows, 3, 32, 32)).astype(np.float32)
    labels = random.integers(0, 10, wanted.rows)
    tensors = torch.from_numpy(images), torch.from_numpy(labels)
    data = TrainingData.of((images, labels)).bind(["image"])
    torch.set_num_threads(wanted.threads)
    bare(*tensors, 1, last=False)
    loops: dict[str, Callable[[Path], None]] = {
        USUAL: lambda _: bare(*tensors, wanted.epochs, last=False),
        LAST: lambda _: bare(*tensors, wanted.epochs, last=True),
        OURS: lambda folder: ours(data, wanted.epochs, folder),
    }
    spent: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(wanted.rounds):
        # The order turns round, so that a machine that slows down slows all.
        for name in list(loops)[:: 1 if number % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                loops[name](Path(folder))
                spent[name].append((time.perf_counter() - began) / wanted.epochs)
    rows = [
        [name, f"{min(seconds):.3f} s", *beside(spent, name)] for name, seconds in spent.items()
    ]
    heads = ["loop", "an epoch at best", f"lissom against it, median of {wanted.rounds} rounds"]
    told = f"{facts('torch', 'numpy')} {wanted.threads} thread, {wanted.rows:,} rows.\n\n"
    publish("What the training loop costs", told + table([*heads, "from, to"], rows))


def beside(spent: Mapping[str, list[float]], name: str) -> list[str]:
    """How much longer lissom took than a loop, round by round."""
    if name == OURS:
        return ["", ""]
    ratios = [own / other - 1 for own, other in zip(spent[OURS], spent[name], strict=True)]
    return [f"{statistics.median(ratios):+.1%}", f"{min(ratios):+.1%}, {max(ratios):+.1%}"]


if __name__ == "__main__":
    main()
