"""Bars with the time left on a terminal, now and then a line in a log."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from lissom.batches import Batches
from lissom.cli.progress import watched
from lissom.technique import silent

# How many batches a function gives is not known before they are read.
UNCOUNTED = Batches.of(lambda: iter([{"x": np.zeros((2, 3), np.float32)}] * 3))

LOOP = """
import time
from types import SimpleNamespace
from lissom.cli.progress import watched
with watched(quiet={quiet}) as track:
    for outer in track([SimpleNamespace(name="int8 static")] * 4, "candidates"):
        for inner in track(iter(range(3)), "time model.onnx", 3):
            time.sleep({seconds})
print("done")
"""


def on_a_terminal(code: str) -> str:
    """What a process writes whose stderr is a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            shown += piece
        elif process.poll() is not None:
            break
    os.close(ours)
    assert process.wait(10) == 0
    return shown.decode()


def test_bars_with_the_time_left_on_a_terminal() -> None:
    shown = on_a_terminal(LOOP.format(quiet=False, seconds=0.12))
    assert "candidates: int8 static" in shown
    assert "time model.onnx" in shown
    assert "75%" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*\w", "", shown)
    assert re.search(r"\d s so far, about \d s left", plain)


def test_quiet_is_quiet_on_a_terminal_too() -> None:
    assert on_a_terminal(LOOP.format(quiet=True, seconds=0)) == ""


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_no_bars_where_stderr_is_no_terminal_whatever_the_environment_says(variable: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOP.format(quiet=False, seconds=0)],
        capture_output=True,
        text=True,
        env={**os.environ, variable: "1"},
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("time.monotonic", lambda: now)
    with watched(quiet=False) as track:
        named = [SimpleNamespace(name=name) for name in ("int8", "float16")]
        for _ in track(named, "candidates"):
            for _ in track(iter(range(3)), "time model.onnx", 3):
                now += 10.0
    assert log.getvalue().splitlines() == [
        "candidates: int8 (1 of 2), time model.onnx (3 of 3): 20 s so far",
        "candidates: float16 (2 of 2), time model.onnx (2 of 3): 40 s so far, about 20 s left",
    ]


def test_the_items_come_through_whatever_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(quiet=True) as track:
        assert track is silent
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True, write=len, flush=int))
    with watched(quiet=False) as track:
        assert list(track([1, 2], "a")) == [1, 2]
        assert list(track(iter("xyz"), "b", 3)) == ["x", "y", "z"]
        stopped = track(range(9), "c")
        assert next(iter(stopped)) == 0
        assert len(list(track(UNCOUNTED, "d"))) == 3
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with watched(quiet=False) as track:
        assert len(list(track(UNCOUNTED, "d"))) == 3
