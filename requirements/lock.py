"""Write dev.lock: what pip chooses for `lissom[dev,demo]`, pinned, with a marker where the oldest
supported Python needs an older release.

    python requirements/lock.py PYTHON3.10 PYTHON3.11

The two arguments are interpreters (names or paths), oldest first. Nothing is installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
# What a CUDA build of torch brings is that build's own business: a CPU build brings none of it.
CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")
HEADER = """\
# Every package of `lissom[dev,demo]` at the release the tests are run with (Linux).
# Written by requirements/lock.py (`make lock`); do not edit. torch comes first and is installed
# alone: see docs/decisions/0001-torch-first-then-the-lock.md.
"""


def pins(python: str) -> dict[str, str]:
    """Package -> version, as a current pip resolves the project for this interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "-qq", "install"]
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        report = Path(folder) / "report.json"
        what = [TORCH, f"{HERE.parent}[dev,demo]"]
        dry = ["--dry-run", "--ignore-installed", "--report", str(report)]
        subprocess.run([*pip, *dry, *what], check=True)
        chosen = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    versions = {canonical(item["name"]): item["version"].split("+")[0] for item in chosen}
    return {name: v for name, v in versions.items() if name != "lissom" and not CUDA.match(name)}


def canonical(name: str) -> str:
    """A package's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(older: dict[str, str], newer: dict[str, str]) -> list[str]:
    """One pin for both where they agree, else one for each side of Python 3.11."""
    written: list[str] = []
    for name in sorted(older.keys() | newer.keys(), key=lambda name: (name != "torch", name)):
        if older.get(name) == newer.get(name):
            written.append(f"{name}=={newer[name]}")
            continue
        for versions, side in ((older, "<"), (newer, ">=")):
            if name in versions:
                written.append(f'{name}=={versions[name]} ; python_version {side} "3.11"')
    return written


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    text = HEADER + "\n".join(lines(pins(sys.argv[1]), pins(sys.argv[2]))) + "\n"
    (HERE / "dev.lock").write_text(text)
