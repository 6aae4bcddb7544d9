"""`lissom --help` answers at once: nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lissom as package
from tests.cli.conftest import Lissom

SOURCES = str(Path(package.__file__).parents[1])
HEAVY = (
    "numpy", "onnx", "onnx_ir", "onnxruntime", "scipy", "torch", "transformers",
    "yaml", "jinja2", "rich",
)  # fmt: skip
# As the installed program is called: the name decides which variable asks for completions.
COMPLETING = "import sys; sys.argv[0] = 'lissom'; from lissom.cli.app import main; main()"
ASKED = """
import json, sys
from lissom.cli import app
sys.argv = ["lissom", *sys.argv[1:]]
try:
    app.main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"], ["--version"]])
def test_nothing_heavy_is_imported_for_help(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKED, *arguments], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": SOURCES},
    )  # fmt: skip
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "lissom.cli.compress" in modules
    assert modules.isdisjoint(HEAVY), modules.intersection(HEAVY)


def test_shells_can_complete(lissom: Lissom) -> None:
    assert "--install-completion" in lissom("--help").out
    done = subprocess.run(
        [sys.executable, "-c", COMPLETING], capture_output=True,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": SOURCES, "_LISSOM_COMPLETE": "complete_bash",
            "COMP_WORDS": "lissom com", "COMP_CWORD": "1",
        },
    )  # fmt: skip
    assert set(done.stdout.split()) == {"compare", "compress"}, done.stderr
