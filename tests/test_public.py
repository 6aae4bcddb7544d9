"""The package's face: every name there, importing it fast, nothing optional or heavy imported."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import lissom
from tests import models

HEAVY = ("torch", "onnxruntime", "onnx", "scipy", "plotly", "transformers", "pandas")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True
    )


def fastest(*arguments: str) -> float:
    """Seconds of the best of three tries: what it takes where nothing else runs."""
    found = []
    for _ in range(3):
        started = time.monotonic()
        python(*arguments)
        found.append(time.monotonic() - started)
    return min(found)


@pytest.mark.parametrize("command", ["import lissom", "import lissom.cli.app"])
def test_importing_brings_nothing_heavy(command: str) -> None:
    code = f"{command}; import sys; print([n for n in {HEAVY} if n in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


def test_help_takes_under_a_second() -> None:
    assert fastest("-m", "lissom.cli.app", "--help") < 1.0


@pytest.mark.parametrize("name", sorted(set(lissom.__all__)))
def test_every_public_name_is_there(name: str) -> None:
    code = f"import lissom; print(lissom.{name}.__class__.__name__)"
    assert python("-c", code).stdout.strip() not in ("", "NoneType")
    assert name in dir(lissom)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compres'"):
        _ = lissom.compres  # type: ignore[attr-defined]


@pytest.mark.parametrize("before", ["", "lissom.Settings; import lissom.measurement.stats as _;"])
def test_measure_is_a_function_whatever_was_imported_before(tmp_path: Path, before: str) -> None:
    """The function has the name of the package it lives in."""
    path = models.saved(models.mlp(), tmp_path / "m.onnx")
    code = (
        f"import lissom; {before} s = lissom.Settings(seconds=0.05, processes=1);"
        f"print(lissom.measure({str(path)!r}, settings=s).footprint.bytes)"
    )
    assert int(python("-c", code).stdout) == path.stat().st_size
