"""Kill `lissom run` on ResNet-20 with SIGKILL at random moments: does it end with the same bytes?

    python benchmarks/killed.py DATA_FOLDER [--epochs 2] [--kills 5] [--seed 0]

Runs resnet20.yaml once undisturbed, then in another folder, where it is
killed so many times at moments drawn from the undisturbed run's length and started again each time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from publish import facts, publish, table
from resnet20_spine import shortened

NETWORK = Path(__file__).parent / "resnet20.py"


def main() -> None:
    """Run, kill, compare, and publish what happened."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--epochs", type=int, default=2)
    arguments.add_argument("--kills", type=int, default=5)
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    os.environ["LISSOM_DATA"] = str(chosen.data.resolve())
    with tempfile.TemporaryDirectory(prefix="lissom-killed-") as work:
        recipe = written(Path(work), chosen.epochs)
        start = time.monotonic()
        whole = digest_after(recipe, Path(work) / "whole")
        seconds = time.monotonic() - start
        draw = random.Random(chosen.seed)
        # About as long together as the undisturbed run, so that they are spread over all of it.
        drawn = [draw.uniform(0.1, 0.3) * seconds for _ in range(chosen.kills)]
        moments = [each for each in drawn if killed_after(each, recipe, Path(work) / "killed")]
        resumed = digest_after(recipe, Path(work) / "killed")
    rows = [["undisturbed", f"{seconds:.0f} s", whole[:16]]]
    told = ", ".join(f"{moment:.0f} s" for moment in moments)
    rows.append([f"killed {len(moments)} times", f"after {told}", resumed[:16]])
    heads = ["run", "when", "SHA-256 of model.onnx"]
    publish(
        "Killed and resumed: prune-distill-quantize on ResNet-20",
        f"{facts('onnxruntime', 'torch')}\n\n{table(heads, rows)}",
    )
    if whole != resumed:
        raise SystemExit("the model files differ")


def written(folder: Path, epochs: int) -> Path:
    """The recipe with so many epochs, and a checkpoint every hundred steps."""
    content = shortened(epochs).model_dump(mode="json")
    (step,) = (each for each in content["steps"] if each["technique"] == "distill.logits")
    step["config"]["training"]["checkpoint_steps"] = 100
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def command(recipe: Path, folder: Path) -> list[str]:
    """`lissom run`, with short measurements."""
    found = [sys.executable, "-m", "lissom", "run", str(recipe), "-o", str(folder), "-q"]
    found += ["--model", f"{NETWORK}:factory", "--task", f"{NETWORK}:task"]
    return [*found, "--max-drop", "50pt", "--seconds", "0.5", "--processes", "1"]


def digest_after(recipe: Path, folder: Path) -> str:
    """Let it run to its end; the digest of the model."""
    subprocess.run(command(recipe, folder), check=True, stdout=subprocess.DEVNULL)
    return hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()


def killed_after(seconds: float, recipe: Path, folder: Path) -> bool:
    """Start it, and kill it in the middle of what it does then; whether it still ran."""
    with subprocess.Popen(command(recipe, folder), stdout=subprocess.DEVNULL) as run:
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            run.kill()
            print(f"killed after {seconds:.0f} s", flush=True)
            return True
    return False


if __name__ == "__main__":
    main()
