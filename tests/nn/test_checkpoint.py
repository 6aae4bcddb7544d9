from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lissom.errors import FolderError  # noqa: E402
from lissom.nn import checkpoint  # noqa: E402
from lissom.nn.training import Training  # noqa: E402
from lissom.training_data import TrainingData  # noqa: E402
from tests.nn.trainable import Stop, bits, network, points, trained  # noqa: E402

CONFIG = Training(
    epochs=3,
    batch_size=32,
    lr=0.02,
    schedule="OneCycleLR",
    warmup_steps=3,
    ema=0.9,
    clip_norm=1.0,
    accumulate=2,
    checkpoint_steps=3,
)


def loader(**more):
    """Shuffled batches with noise from numpy, the kind a user's own pipeline makes."""

    x, y = points()

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 256

        def __getitem__(self, index):
            return x[index] + np.float32(np.random.normal()), y[index]

    return torch.utils.data.DataLoader(Noisy(), 32, shuffle=True, **more)


def score(module):
    return float(module[0].weight.sum())


def stopped_after(batches):
    """A track that raises after so many steps in all."""
    seen = 0

    def track(items, label, total=None):
        nonlocal seen
        for item in items:
            yield item
            seen += label != "train"
            if seen >= batches:
                raise Stop

    return track


SOURCES = {
    "arrays": lambda: TrainingData.of(points()),
    "shuffling loader": lambda: TrainingData.of(loader()),
    "loader with its own generator": lambda: TrainingData.of(
        loader(generator=torch.Generator().manual_seed(3))
    ),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("after", [1, 4, 6, 11])
def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path, source, after):
    whole, result = trained(CONFIG, data=SOURCES[source](), validate=score)
    with pytest.raises(Stop):
        trained(
            CONFIG, tmp_path, data=SOURCES[source](), validate=score, track=stopped_after(after)
        )
    module, resumed = trained(CONFIG, tmp_path, data=SOURCES[source](), validate=score)
    assert bits(module) == bits(whole)
    without = [{**entry, "seconds": 0} for entry in resumed.history]
    assert without == [{**entry, "seconds": 0} for entry in result.history]
    # A finished run trains no more, and says the same.
    again, third = trained(
        CONFIG, tmp_path, data=SOURCES[source](), validate=score, track=stopped_after(1)
    )
    assert bits(again) == bits(whole)
    assert third.history == resumed.history


@pytest.mark.parametrize(
    ("optimizer", "schedule", "options"),
    [
        ("SGD", "StepLR", {"step_size": 1}),
        ("Adagrad", "MultiStepLR", {"milestones": (1, 2)}),
        ("NAdam", "ReduceLROnPlateau", {"patience": 0}),
        ("RMSprop", "CosineAnnealingWarmRestarts", {"T_0": 2}),
        ("Rprop", "PolynomialLR", {}),
    ],
)
def test_every_kind_of_optimizer_and_schedule_goes_on(tmp_path, optimizer, schedule, options):
    momentum = {"momentum": 0.9} if optimizer == "SGD" else {}
    config = Training(
        epochs=4, optimizer=optimizer, optimizer_options=momentum, schedule=schedule,
        schedule_options=options,
    )  # fmt: skip
    metric = {"validate": lambda _: 0.5}
    whole, _ = trained(config, **metric)
    with pytest.raises(Stop):
        trained(config, tmp_path, track=stopped_after(10), **metric)
    assert bits(trained(config, tmp_path, **metric)[0]) == bits(whole)


def test_the_log_has_each_line_once(tmp_path):
    config = CONFIG.model_copy(update={"log_steps": 1})
    trained(config, tmp_path / "whole")
    with pytest.raises(Stop):
        trained(config, tmp_path / "broken", track=stopped_after(5))
    assert len((tmp_path / "broken" / "log.jsonl").read_text().splitlines()) > 4
    trained(config, tmp_path / "broken")
    lines = [
        [line.partition(', "seconds"')[0] for line in (folder / "log.jsonl").open()]
        for folder in (tmp_path / "whole", tmp_path / "broken")
    ]
    assert lines[0] == lines[1]


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import lissom.nn.run
lissom.nn.run.code_version = lambda: "the same, whoever is editing"
from tests.nn.test_checkpoint import CONFIG, SOURCES, score
from tests.nn.trainable import bits, trained

def slow(items, label, total=None):
    for item in items:
        time.sleep(0.005)
        yield item

folder = Path(sys.argv[1])
data = SOURCES["shuffling loader"]()
config = CONFIG.model_copy(update={"epochs": 12, "checkpoint_steps": 1})
module, _ = trained(config, folder, data=data, validate=score, track=slow)
(folder / "bits").write_bytes(bits(module))
"""


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def start(folder):
        command = [sys.executable, "-c", CHILD, str(folder), str(root)]
        return subprocess.Popen(command, env=environment)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    unbroken = start(whole)
    random, kills = np.random.default_rng(), 0
    for _ in range(3):
        child = start(broken)
        file = broken / checkpoint.FILE
        before = file.stat().st_mtime_ns if file.exists() else 0
        while child.poll() is None and (not file.exists() or file.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.15))
        kills += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert start(broken).wait() == 0
    assert unbroken.wait() == 0
    assert kills
    assert (broken / "bits").read_bytes() == (whole / "bits").read_bytes()
    assert sorted(path.name for path in broken.iterdir()) == ["bits", checkpoint.FILE, "log.jsonl"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": Training(epochs=2, lr=0.1)}, "different settings"),
        ({"seed": 1}, "different seed"),
        ({"module": network(1)}, "different network"),
        ({"data": TrainingData.of(points(128))}, "different training data"),
        ({"facts": {"teacher": "other"}}, "different teacher"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, says):
    config = Training(epochs=1)
    trained(config, tmp_path)
    kept = (tmp_path / checkpoint.FILE).read_bytes()
    with pytest.raises(FolderError, match=says) as error:
        trained(change.pop("config", config), tmp_path, **change)
    assert "delete the folder" in error.value.fix
    assert (tmp_path / checkpoint.FILE).read_bytes() == kept


def test_a_checkpoint_of_other_code_is_refused(tmp_path, monkeypatch):
    trained(Training(epochs=1), tmp_path)
    monkeypatch.setattr("lissom.nn.run.code_version", lambda: "newer")
    with pytest.raises(FolderError, match="different version of lissom"):
        trained(Training(epochs=1), tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\x08\0\0\0\0\0\0\0{}", b"cut"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    trained(Training(epochs=1), tmp_path)
    path = tmp_path / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:-40] if damage == b"cut" else damage)
    with pytest.raises(FolderError, match="damaged"):
        trained(Training(epochs=1), tmp_path)


@pytest.mark.parametrize(
    "state", [{}, {"progress": {"epoch": 1, "more": 2}}, {"progress": 3}, {"optimizer": {}}]
)
def test_a_checkpoint_with_foreign_contents_is_refused(tmp_path, state):
    identity = {}

    def noting(folder, found):
        identity.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "load", noting)
        trained(Training(epochs=1), tmp_path)
    held = checkpoint.load(tmp_path, identity)
    tensors = held.tensors if state else {"model.0.weight": torch.zeros(2)}
    checkpoint.save(tmp_path, checkpoint.Checkpoint(tensors, {**held.state, **state}), identity)
    with pytest.raises(FolderError, match="damaged"):
        trained(Training(epochs=1), tmp_path)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    good = checkpoint.Checkpoint({"a": torch.ones(10)}, {"step": 1})
    checkpoint.save(tmp_path, good, {"seed": "0"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        large = checkpoint.Checkpoint({"a": torch.ones(10_000)}, {"step": 2})
        with pytest.raises(FolderError, match="cannot be written"):
            checkpoint.save(tmp_path, large, {"seed": "0"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
    kept = checkpoint.load(tmp_path, {"seed": "0"})
    assert kept.state == {"step": 1}
    assert torch.equal(kept.tensors["a"], torch.ones(10))


def test_tied_weights_and_views_are_kept(tmp_path):
    tied = torch.arange(6.0)
    tensors = {"a": tied, "b": tied, "view": tied[2:4], "turned": tied.view(2, 3).T}
    checkpoint.save(tmp_path, checkpoint.Checkpoint(tensors, {}), {})
    kept = checkpoint.load(tmp_path, {}).tensors
    assert all(torch.equal(kept[name], tensors[name]) for name in tensors)
