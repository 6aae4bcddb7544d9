"""Ask a fresh Python process to do a job, and say clearly when it died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from lissom.errors import FolderError, RunError

STDERR_LINES = 8


def ask(job: str, files: Sequence[Path], feeds: Path, **settings: Any) -> dict[str, Any]:
    """Have `lissom.measurement.worker` do one job in a process of its own.

    Args:
        job: a key of the worker's table of jobs.
        files: the model files.
        feeds: an .npz file of input arrays, see `stored`.
        settings: what else the job takes; JSON.

    Raises:
        RunError: the process died, or found that a file cannot be opened or run.
    """
    paths = [str(Path(file).resolve()) for file in files]
    request = {"job": job, "files": paths, "feeds": str(feeds), **settings}
    names = " and ".join(paths)
    code, stdout, stderr = _talk(json.dumps(request))
    if code:
        raise _death(code, names, stderr)
    answer: dict[str, Any] = json.loads(stdout)
    if "error" in answer:
        error = answer["error"]
        raise RunError(error["what"], where=error["where"] or names, fix=error["fix"])
    return answer


def _talk(request: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a worker that was given one line.

    Its stdin stays open until it is done: the system closes it when we end, however we end, and
    that is what tells the worker to end too.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "lissom.measurement.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    ) as process:
        line, process.stdin = process.stdin, None  # else communicate would close it
        assert line is not None
        try:
            # One that died before it read the line has its last words in stderr.
            with suppress(BrokenPipeError):
                line.write(request + "\n")
                line.flush()
            stdout, stderr = process.communicate()
        except BaseException:
            process.kill()
            raise
        finally:
            with suppress(BrokenPipeError):
                line.close()
    return process.returncode, stdout, stderr


@contextmanager
def stored(feeds: Mapping[str, np.ndarray]) -> Iterator[Path]:
    """The feeds as a temporary .npz file that other processes can read.

    Raises:
        FolderError: it cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="lissom-") as folder:
        path = Path(folder) / "feeds.npz"
        try:
            # Names go beside the arrays: as keywords, one called "file" would clash with savez's.
            np.savez(path, np.array(list(feeds)), *feeds.values())
        except OSError as error:
            raise FolderError(
                f"the inputs of a timed run cannot be written: {error.strerror or error}",
                where=tempfile.gettempdir(),
                fix="free some space there, or set TMPDIR to a folder on a larger disk",
            ) from None
        yield path


def _environment() -> dict[str, str]:
    """Ours, with lissom importable wherever it was imported from and the user's folder not first:
    a file called numpy.py where the user stands must not be run."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _death(code: int, files: str, stderr: str) -> RunError:
    last = "\n".join(stderr.strip().splitlines()[-STDERR_LINES:])
    if code < 0:
        name = signal.Signals(-code).name
        how = f"was killed by {name}"
        fix = "a system out of memory kills so: use a smaller --batch or --shape, or free memory"
        if -code != getattr(signal, "SIGKILL", 9):
            fix = "the runtime crashed on this file; try the file alone with `lissom measure`"
    else:
        how, fix = f"ended with exit code {code}", "its last words are above"
    said = f"; it said:\n{last}" if last else ""
    return RunError(f"the process that measured the model {how}{said}", where=files, fix=fix)
