"""Two processes on one machine, as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lissom.nn.training import Training  # noqa: E402
from tests.nn.trainable import trained  # noqa: E402

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import lissom.nn.run
lissom.nn.run.code_version = lambda: "the same"
from lissom.nn.training import Training
from tests.nn.test_distributed import linear
from tests.nn.trainable import bits, trained

folder, rank = Path(sys.argv[1]), sys.argv[3]
settings = {"optimizer": "SGD", "lr": 0.1, "schedule": None, "patience": 5, "keep": "last"}
config = Training(epochs=2, batch_size=128, **settings)
judged = []
def validate(module):
    judged.append(rank)
    return module.weight.sum().item()
module, result = trained(config, folder / "run", module=linear(), validate=validate)
again, _ = trained(config, folder / "run", module=linear(), validate=validate)
assert bits(again) == bits(module)
assert len(judged) == (2 if rank == "0" else 0)
(folder / rank).write_bytes(bits(module))
"""


def linear():
    module = torch.nn.Linear(8, 3)
    torch.nn.init.zeros_(module.weight)
    torch.nn.init.zeros_(module.bias)
    return module


def test_two_processes_take_the_steps_of_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    root = str(Path(__file__).parents[2])
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), root, rank],
            env={**common, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]
    try:
        assert [child.wait(timeout=60) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    first, second = ((tmp_path / rank).read_bytes() for rank in "01")
    assert first == second
    # Each had half of the 256 rows, so together they made one step over all rows per epoch.
    config = Training(epochs=2, batch_size=256, optimizer="SGD", lr=0.1, schedule=None)
    alone, _ = trained(config, module=linear())
    weight = np.frombuffer(first[: 24 * 4], np.float32).reshape(3, 8)
    np.testing.assert_allclose(weight, alone.weight.detach().numpy(), atol=1e-6)
