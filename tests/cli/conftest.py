"""The command line in this process, in one of its own, and one finished run of it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from lissom.cli import app
from tests import models

BRIEF = ("--seconds", "0.1", "--processes", "1")
COMMAND = (sys.executable, "-m", "lissom.cli.app")


@dataclass(frozen=True)
class Said:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Lissom = Callable[..., Said]


@pytest.fixture
def lissom(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lissom:
    """Runs `lissom ARGUMENTS` in this process, which tells no progress however long it takes."""
    monkeypatch.setattr("lissom.cli.progress.EVERY", float("inf"))

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["lissom", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, out, err)

    return run


def start(*arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
    """`lissom ARGUMENTS` in a process of its own, which hears Ctrl-C even if we do not.

    A shell starts what runs in the background with SIGINT ignored, and children inherit that.
    """
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != "FORCE_COLOR"},
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def half_written(folder: Path) -> list[str]:
    """Files that are neither finished results nor the store's lock."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.startswith((".model", ".results", ".report", ".manifest", "unfinished-"))
    ]


@dataclass(frozen=True)
class Bench:
    """A folder with models, an .npz of data with labels for each, and one undisturbed run."""

    folder: Path
    undisturbed: Path

    @property
    def run(self) -> Sequence[str]:
        """The arguments of the undisturbed run, without its output folder."""
        model, data = self.folder / "depthwise.onnx", self.folder / "depthwise.npz"
        return (
            "compress", str(model), "--task", f"arrays:{data}", "--technique", "quantize.static",
            "--objective", "size", "--max-drop", "10pt", *BRIEF,
        )  # fmt: skip


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    for name in ("depthwise", "two_input", "mlp"):
        model = getattr(models, name)()
        path = models.saved(model, folder / f"{name}.onnx")
        feeds = models.feeds(model, 160)
        labels = ort.InferenceSession(path).run(None, feeds)[0].argmax(axis=1)
        np.savez(folder / f"{name}.npz", labels=labels, **feeds)
    found = Bench(folder, folder / "undisturbed")
    process = start(*found.run, "-o", found.undisturbed)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "error" not in err
    assert f"saved:  {found.undisturbed / 'model.onnx'}" in out
    return found
