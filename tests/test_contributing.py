"""The example in CONTRIBUTING.md is a technique that works, and its test passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import lissom

ROOT = Path(__file__).parents[1]


def test_the_example_of_contributing_passes_its_own_test(tmp_path: Path) -> None:
    blocks = re.findall(
        r"```python\n# (\S+)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S
    )
    assert [Path(name).name for name, _ in blocks] == ["clip.py", "test_clip.py"]
    for name, code in blocks:
        (tmp_path / Path(name).name).write_text(code.replace("lissom.quantize.clip", "clip"))
    # A process of its own, or the example would stand in the table of every later test.
    sources = Path(lissom.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, sources, ROOT)))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_clip.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
