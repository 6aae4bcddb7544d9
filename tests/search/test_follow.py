"""`lissom.run`: prune, distill and quantize one network in one recipe, measured at every step."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch")

import lissom  # noqa: E402
from lissom.errors import RequestError  # noqa: E402
from lissom.measurement.records import Settings  # noqa: E402
from lissom.recipe.schema import Recipe, Step  # noqa: E402
from lissom.search.result import Result  # noqa: E402
from tests.search import spine  # noqa: E402

BRIEF = Settings(seconds=0.2, processes=1)
SPINE = """
name: spine
steps:
  - technique: prune.structured
    config: {channels: 0.5}
  - technique: distill.logits
    config:
      alpha: 0.5
      training: {epochs: 3, lr: 0.01, checkpoint_steps: 2}
  - technique: graph.optimize
  - technique: quantize.static
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "spine.yaml"
    path.write_text(SPINE)
    return path


@pytest.fixture(scope="module")
def result(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    network, examples = spine.factory()
    return lissom.run(
        recipe,
        network,
        spine.task(),
        example_inputs=examples,
        budget=lissom.Budget(drop="50pt"),
        folder=tmp_path_factory.mktemp("out"),
        settings=BRIEF,
    )


def test_every_step_is_measured_in_order(result: Result) -> None:
    rows = result.results.rows
    assert [row.name for row in rows] == [
        "1 prune.structured", "2 distill.logits", "3 graph.optimize", "4 quantize.static",
    ]  # fmt: skip
    assert result.results.kind == "recipe"
    assert rows[-1].chosen and not any(row.chosen for row in rows[:-1])
    original = result.results.original.measurement
    pruned, last = rows[0].measurement, rows[-1].measurement
    assert original.quality is not None and original.quality.value.value > 0.9
    assert original.footprint.macs and pruned.footprint.macs
    # Half of the first and of the second layer's channels: a bit more than a quarter is left.
    assert pruned.footprint.macs < 0.5 * original.footprint.macs
    assert pruned.footprint.parameters < 0.5 * original.footprint.parameters
    assert last.footprint.bytes < pruned.footprint.bytes
    assert last.quality is not None and last.quality.value.value > 0.7


def test_the_module_behind_the_artifact_comes_back(result: Result) -> None:
    assert result.best is not None
    module = result.best.torch()
    assert module.first.weight.shape[0] == 8
    images = spine.data(8, 5)[0]
    with torch.inference_mode():
        wanted = module(torch.from_numpy(images)).numpy()
    stage = next(a for a in result.artifacts if a.row.name == "2 distill.logits")
    session = ort.InferenceSession(str(stage.path))
    (found,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    (final,) = ort.InferenceSession(str(result.best.path)).run(
        None, {session.get_inputs()[0].name: images}
    )
    assert (final.argmax(1) == wanted.argmax(1)).mean() >= 0.75


def test_the_saved_recipe_gives_the_same_bytes_again(result: Result, tmp_path: Path) -> None:
    assert result.best is not None
    saved = result.best.save(tmp_path / "saved") / "recipe.yaml"
    network, examples = spine.factory()
    again = lissom.run(
        saved,
        network,
        spine.task(),
        example_inputs=examples,
        budget=lissom.Budget(drop="50pt"),
        folder=tmp_path / "again",
        settings=BRIEF,
    )
    assert again.best is not None
    assert again.best.path.read_bytes() == result.best.path.read_bytes()


def test_killed_anywhere_it_ends_with_the_same_bytes(
    result: Result, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "lissom", "run", str(recipe), "-o", str(out), "-q"]
    command += ["--model", f"{spine.__file__}:factory", "--task", f"{spine.__file__}:task"]
    command += ["--max-drop", "50pt", "--seconds", "0.2", "--processes", "1"]
    waits = random.Random(7)
    for _ in range(5):
        run = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
        )
        time.sleep(waits.uniform(2.0, 9.0))
        run.send_signal(signal.SIGKILL)
        run.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert result.best is not None
    wanted = hashlib.sha256(result.best.path.read_bytes()).hexdigest()
    assert hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest() == wanted


def test_a_step_on_a_module_after_a_step_on_the_graph_is_refused_before_anything_runs() -> None:
    steps = [Step(technique="quantize.dynamic"), Step(technique="distill.logits")]
    network, examples = spine.factory()
    with pytest.raises(RequestError) as caught:
        lissom.run(
            Recipe(name="backwards", steps=tuple(steps)),
            network,
            spine.task(),
            example_inputs=examples,
        )
    assert "distill.logits" in caught.value.what and "quantize.dynamic" in caught.value.what
    assert caught.value.fix == "move distill.logits before quantize.dynamic"


def test_one_of_several_processes_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    network, examples = spine.factory()
    with pytest.raises(RequestError, match="torchrun") as caught:
        lissom.run("int8", network, spine.task(), example_inputs=examples)
    assert "lissom.nn.train.train" in (caught.value.fix or "")
