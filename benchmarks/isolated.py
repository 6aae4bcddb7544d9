"""Make a model file in a process of its own, so that its seconds and its memory are its own.

A maker is `module:function` of this folder, called as `function(original, out, calibration,
**options)`; what it imports at its module's top is not counted in the seconds.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kept_batches import stored

from lissom.measurement.worker import resident_peak

LIMIT = 300.0
LONGEST = 160


@dataclass(frozen=True)
class Build:
    """What makes a file: a maker and its options, which are JSON."""

    maker: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Elsewhere(Build):
    """A maker that has a Python and a limit of its own: its module is run there as a script.

    `packages` are the versions there, and `limit` the seconds it has.
    """

    python: str = sys.executable
    packages: Mapping[str, str] = field(default_factory=dict)
    limit: float = LIMIT


@dataclass(frozen=True)
class Cost:
    """What making a file took: seconds of the maker, and bytes of its process at their most."""

    seconds: float
    memory: int


class NotMade(Exception):
    """A maker failed, or was not done in time; the message says which."""


def make(build: Build, original: Path, out: Path, calibration: Path, limit: float = LIMIT) -> Cost:
    """Have a maker write `out` from `original` and the batches stored in `calibration`.

    Raises:
        NotMade: it failed, or took more than `limit` seconds.
    """
    paths = {"original": original, "out": out, "calibration": calibration}
    job = {"maker": build.maker, "options": dict(build.options)}
    job |= {name: str(path.resolve()) for name, path in paths.items()}
    if isinstance(build, Elsewhere):
        module, _, job["maker"] = build.maker.partition(":")
        script = str(Path(__file__).with_name(f"{module}.py"))
        return Cost(**answered(script, job, build.limit, build.python))
    return Cost(**answered(__file__, job, limit))


def answered(
    script: str,
    job: Mapping[str, Any],
    limit: float | None = None,
    python: str = sys.executable,
) -> Any:
    """What a script of this folder prints last, as JSON, when it is given a job on stdin.

    Raises:
        NotMade: it failed, or took more than `limit` seconds.
    """
    try:
        done = subprocess.run(
            [python, script],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotMade(f"not done in {limit:.0f} s") from None
    if done.returncode:
        raise NotMade(last_words(done.stderr) or f"ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def last_words(stderr: str) -> str:
    """The line that names the exception, without what follows its first sentence's length."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    raised = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    return (raised or lines or [""])[-1][:LONGEST]


def main() -> None:
    """Read a job from stdin, do it, print what it took."""
    job = json.load(sys.stdin)
    module, _, name = job["maker"].partition(":")
    maker = getattr(importlib.import_module(module), name)
    calibration = stored(Path(job["calibration"]))
    started = time.monotonic()
    maker(Path(job["original"]), Path(job["out"]), calibration, **job["options"])
    print()
    print(json.dumps({"seconds": time.monotonic() - started, "memory": resident_peak()}))


if __name__ == "__main__":
    main()
