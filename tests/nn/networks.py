"""Small networks whose channels hang together in the ways real ones do."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lissom.factory import network_of
from lissom.nn.network import TorchModel


def model_of(module: nn.Module, inputs: Any) -> TorchModel:
    return TorchModel.of(network_of(module, inputs, None, "test", b""))


def alive(module: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, so that a mixed-up channel shows."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 1.5)
    return module.eval()


class PaddedBlock(nn.Module):
    """CIFAR ResNet's option A: the shortcut is subsampled and padded with zero channels."""

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)
        self.extra = (leaving - entering) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x)


class PaddedResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(PaddedBlock(8, 8, 1), PaddedBlock(8, 8, 1))
        self.layer2 = PaddedBlock(8, 16, 2)
        self.linear = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.linear(F.avg_pool2d(x, x.size(3)).view(x.size(0), -1))


class Bottleneck(nn.Module):
    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(entering, 6, 1, bias=False)
        self.an = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 6, 3, stride, 1)
        self.down = nn.Conv2d(entering, leaving, 1, stride) if stride > 1 else nn.Identity()
        self.c = nn.Conv2d(6, leaving, 1, bias=False)
        self.cn = nn.BatchNorm2d(leaving)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cn(self.c(F.relu(self.b(F.relu(self.an(self.a(x)))))))
        y += self.down(x)
        return F.relu(y)


class FlatResNet(nn.Module):
    """Residual blocks; a channel becomes a block of four features of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 10, 3, 2, 1), nn.BatchNorm2d(10), nn.ReLU(True))
        self.blocks = nn.Sequential(Bottleneck(10, 10, 1), Bottleneck(10, 12, 2))
        self.head = nn.Linear(12 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 2), 1))


class Inverted(nn.Module):
    """MobileNetV2's block, with squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Conv2d(width, 3 * width, 1)
        self.depth = nn.Conv2d(3 * width, 3 * width, 3, 1, 1, groups=3 * width, bias=False)
        self.norm = nn.BatchNorm2d(3 * width)
        self.down = nn.Conv2d(3 * width, width, 1)
        self.squeeze = nn.Conv2d(width, 4, 1)
        self.excite = nn.Conv2d(4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(F.relu6(self.norm(self.depth(F.relu6(self.up(x))))))
        return x + y * torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), True)))))


class Mobile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.block = Inverted(8)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(F.relu(self.stem(x))).mean([2, 3]))


class Dense(nn.Module):
    """DenseNet: what a layer makes is read by all layers after it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 1, 1)
        self.norm1 = nn.BatchNorm2d(8)
        self.grow1 = nn.Conv2d(8, 6, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(14)
        self.grow2 = nn.Conv2d(14, 6, 3, 1, 1, bias=False)
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = torch.cat([x, self.grow1(F.relu(self.norm1(x)))], 1)
        x = torch.cat([x, self.grow2(F.relu(self.norm2(x)))], 1)
        return self.head(F.adaptive_avg_pool2d(F.relu(x), (1, 1)).flatten(1))


class Grouped(nn.Module):
    """Grouped convolution, and channels that are cut in half and multiplied (GLU)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.b = nn.Conv2d(16, 32, 3, padding=1, groups=4)
        self.c = nn.Conv2d(32, 12, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, gate = self.c(F.relu(self.b(F.relu(self.a(x))))).chunk(2, 1)
        return self.head((y * torch.sigmoid(gate)).mean((2, 3)))


class Transformer(nn.Module):
    """Pre-norm attention with heads of fixed size, and a perceptron, on a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 16)
        self.position = nn.Parameter(torch.randn(1, 7, 16))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        q, k, v = (
            part.view(x.shape[0], 7, 2, 8).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(16, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape[0], 7, 16)
        x = x + self.out(y)
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(x[:, 0])


def image(size: int = 16) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


NETWORKS = {
    "padded": (PaddedResNet, image),
    "flat": (FlatResNet, image),
    "mobile": (Mobile, image),
    "dense": (Dense, image),
    "grouped": (Grouped, image),
    "transformer": (
        Transformer,
        lambda: torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1)),
    ),
}


def build(name: str) -> TorchModel:
    network, inputs = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model_of(alive(network()), inputs())
