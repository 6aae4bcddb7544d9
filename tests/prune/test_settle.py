"""Batch norms get the statistics of what they see, and the network says what it said."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lissom.factory import from_module  # noqa: E402
from lissom.nn.network import TorchModel  # noqa: E402
from lissom.prune.settle import settle  # noqa: E402
from lissom.task import Task  # noqa: E402


def network() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 5),
        nn.BatchNorm1d(5),
        nn.BatchNorm1d(5, affine=False),
    )
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 3)
            if norm.affine:
                nn.init.normal_(norm.weight)
                nn.init.normal_(norm.bias)
    return module.eval()


def test_statistics_are_those_of_the_data_and_nothing_else_changes() -> None:
    module = network()
    x = torch.randn(40, 3, 6, 6, generator=torch.Generator().manual_seed(1)) + 0.5
    model = TorchModel.of(from_module(module, x[:2])())
    calibration = Task(calibration={"input": x.numpy()}, batch_size=16).calibration
    settle(model, calibration)
    with torch.no_grad():
        torch.testing.assert_close(model.module(x), module(x), rtol=1e-4, atol=1e-4)
        entering = module[0](x)
    norm = model.module[1]
    torch.testing.assert_close(norm.running_mean, entering.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, entering.var((0, 2, 3), correction=0))
    assert torch.equal(model.module[6].running_mean, module[6].running_mean)
