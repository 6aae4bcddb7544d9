"""What it takes to open a packed ONNX file in ONNX Runtime, beside opening the file itself.

    python benchmarks/archive_opening.py MODEL.onnx ... [--turns 9] [--unpublished]

From a warm disk, in turns: inside a process that runs already, and as a fresh process that imports
what it needs and opens the model. Medians in milliseconds; the goal is 1.5 times at most.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
from publish import facts, publish, table

import lissom
from lissom.storage import kernel

OPEN = "import sys, onnxruntime as ort; ort.InferenceSession(sys.argv[1])"
LOAD = "import sys, lissom; lissom.load(sys.argv[1])"


def in_turns(first: Callable[[], object], second: Callable[[], object], turns: int) -> list[float]:
    """Median milliseconds of both, measured one after the other in each turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for times, run in zip(found, (first, second), strict=True):
            started = time.perf_counter()
            opened = run()
            times.append((time.perf_counter() - started) * 1e3)
            del opened
    return [statistics.median(times) for times in found]


def process(code: str, path: Path, compiled: Path) -> None:
    """Run code on a file, with the modules compiled before, as those of an installation are."""
    kept = {"PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", code, str(path)]
    subprocess.run(command, check=True, env=os.environ | kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--unpublished", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(model, Path(folder, "packed.lsm"), asked.turns) for model in asked.models]
    heads = ["model", "MB", "packed MB", "open, ms", "load, ms", "ratio"]
    heads += ["process: open, ms", "load, ms", "ratio"]
    text = (
        f"{facts('numpy', 'onnxruntime')} The kernel is {kernel.in_use()}.\n\n"
        f"Medians of {asked.turns} turns from a warm disk: inside a process that runs already, and "
        f"as a fresh process with its imports. The goal is 1.5 times at most.\n\n"
        + table(heads, rows)
    )
    if asked.unpublished:
        print(text)
    else:
        publish("archive_opening.py", text)


def row(model: Path, archive: Path, turns: int) -> list[str]:
    """What one model takes, plain and packed."""
    packed = lissom.pack(model, archive)
    plain, load = in_turns(
        lambda: ort.InferenceSession(model), lambda: lissom.load(packed.path), turns
    )
    compiled = archive.parent / "compiled"
    process(LOAD, packed.path, compiled)
    fresh, loaded = in_turns(
        lambda: process(OPEN, model, compiled), lambda: process(LOAD, packed.path, compiled), turns
    )
    name = model.name if model.stem != "model" else f"{model.parent.name}/{model.name}"
    return [
        name, f"{packed.original / 1e6:.1f}", f"{packed.size / 1e6:.1f}",
        f"{plain:.0f}", f"{load:.0f}", f"{load / plain:.2f}",
        f"{fresh:.0f}", f"{loaded:.0f}", f"{loaded / fresh:.2f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
