"""Labelled samples for peers that measure while they quantize: none is calibrated or judged on.

Drawn at random from the part that the network was trained on, since there is no third one:
accuracies are higher there than on the samples that the tables judge on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kept_batches
import numpy as np
from elsewhere_peer import TARGETS

COUNTS = {"resnet20": 1000, "mobilenet": 1000, "minilm": 500, "sst2": 1000}
METRICS = {"resnet20": "accuracy", "mobilenet": "accuracy", "sst2": "accuracy"}
BATCH = 50


def options(network: str, work: Path) -> dict[str, Any]:
    """Write the samples, and say where they are and what they are judged by.

    The folder LISSOM_DATA names is read, so `networks.load` comes first.
    """
    path = work / "tuning.npz"
    batches = [{**inputs, TARGETS: targets} for inputs, targets in samples(network)]
    kept_batches.store(batches, path)
    digest = hashlib.sha256(b"".join(array.tobytes() for b in batches for array in b.values()))
    return {
        "tuning": str(path.resolve()),
        "digest": digest.hexdigest(),
        "metric": METRICS.get(network, "spearman"),
    }


def samples(network: str) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Batches of inputs and targets of the training part, after what calibration takes of it."""
    match network:
        case "resnet20" | "mobilenet":
            yield from _images(COUNTS[network])
        case "sst2":
            yield from _sentences(COUNTS[network])
        case _:
            yield from _pairs(COUNTS[network])


def _images(count: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    import resnet20

    pixels, labels = resnet20.images("train")
    calibrated = sum(len(batch["images"]) for batch in resnet20.task().calibration)
    # The seed is that of the task, which calibrates on the first ones.
    drawn = np.random.default_rng(0).permutation(len(labels))[calibrated : calibrated + count]
    for rows in np.split(drawn, range(BATCH, count, BATCH)):
        yield {"images": resnet20.normalized(pixels[rows])}, labels[rows]


def _sentences(count: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    import sst2

    texts, labels = sst2.sentences("train")
    drawn = np.random.default_rng(1).permutation(len(labels))
    yield from sst2.batches(texts, labels, drawn[sst2.CALIBRATION : sst2.CALIBRATION + count])


def _pairs(count: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    import minilm_stsb
    import sst2

    path = Path(os.environ["LISSOM_DATA"]) / "stsb" / "train.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    rest = [line.split("\t") for line in lines[minilm_stsb.CALIBRATION :]]
    drawn = np.random.default_rng(2).permutation(len(rest))[:count]
    tokens = sst2.tokens()
    for rows in np.split(drawn, range(BATCH, count, BATCH)):
        firsts, seconds = ([rest[row][column] for row in rows] for column in (1, 2))
        yield tokens([*firsts, *seconds]), np.array([float(rest[row][0]) for row in rows])
