"""Makers in an environment of their own, whose packages do not go together with lissom's.

Imported there by the scripts `*_peer.py` that isolated.py runs as `Elsewhere`: NumPy and the
standard library only.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from kept_batches import Batch, stored

TARGETS = "targets"


def main(makers: Mapping[str, Callable[..., None]]) -> None:
    """Read a job from stdin, do it, print what it took, as isolated.py does."""
    job = json.load(sys.stdin)
    calibration = stored(Path(job["calibration"]))
    started = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):
        maker = makers[job["maker"]]
        maker(Path(job["original"]), Path(job["out"]), calibration, **job["options"])
    print(json.dumps({"seconds": time.monotonic() - started, "memory": resident_peak()}))


def labelled(path: Path) -> list[tuple[Batch, np.ndarray]]:
    """The batches of tuning.py and their targets."""
    return [(batch, batch.pop(TARGETS)) for batch in stored(path)]


def score(metric: str, answers: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """Accuracy of scores (n, classes), or Spearman's correlation of the cosines of pairs.

    A batch of pairs is (2 n, size): all first sentences, then all second ones.
    """
    truth = np.concatenate(list(targets))
    if metric == "accuracy":
        return float(np.mean(np.concatenate(list(answers)).argmax(axis=1) == truth))
    found = np.concatenate([cosines(answer) for answer in answers])
    return float(np.corrcoef(ranks(found), ranks(truth))[0, 1])


def cosines(answer: np.ndarray) -> np.ndarray:
    """Of each row of the first half with its row of the second half."""
    one, other = np.split(answer.astype(np.float64), 2)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / lengths)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[where])


def resident_peak() -> int:
    """Highest resident set of this process in bytes; Linux."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
