"""What was summed up over the samples as plain numbers, which can be kept and read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from lissom.diagnosis.causes import Sums
from lissom.diagnosis.replay import Accumulated, Replayed

NUMBERS = ("power", "total", "mean_count", "beyond", "seen", "lost", "lossy", "lossy_power", "work")
# Types as they are summed up in.
ARRAYS = {"mean_error": np.float64, "widest": np.float32, "offset": np.float64}
OF_HISTOGRAM = ("low", "high", "zeros", "reach")


def as_numbers(sums: Sequence[Sums], replayed: Replayed) -> dict[str, Any]:
    """Everything that a pass over the samples filled."""
    return {
        "sums": [_of_layer(each) for each in sums],
        "accumulated": [dataclasses.asdict(each) for each in replayed.accumulated],
        "ends": {name: dataclasses.asdict(each) for name, each in replayed.ends.items()},
        "samples": replayed.samples,
    }


def fill(sums: Sequence[Sums], numbers: dict[str, Any]) -> Replayed:
    """Fill the sums of every layer with what was kept of them, and the rest."""
    for each, given in zip(sums, numbers["sums"], strict=True):
        _fill_layer(each, given)
    return Replayed(
        [Accumulated(**each) for each in numbers["accumulated"]],
        {name: Accumulated(**each) for name, each in numbers["ends"].items()},
        numbers["samples"],
    )


def _of_layer(sums: Sums) -> dict[str, Any]:
    arrays = {name: getattr(sums, name) for name in ARRAYS}
    return {
        **{name: getattr(sums, name) for name in NUMBERS},
        "alone": sums.alone,
        **{name: None if array is None else array.tolist() for name, array in arrays.items()},
        "histogram": {name: getattr(sums.histogram, name) for name in OF_HISTOGRAM},
        "counts": sums.histogram.counts.tolist(),
    }


def _fill_layer(sums: Sums, given: dict[str, Any]) -> None:
    for name in NUMBERS:
        setattr(sums, name, given[name])
    sums.alone = given["alone"]
    for name, kind in ARRAYS.items():
        setattr(sums, name, None if given[name] is None else np.asarray(given[name], kind))
    for name in OF_HISTOGRAM:
        setattr(sums.histogram, name, given["histogram"][name])
    sums.histogram.counts = np.asarray(given["counts"], np.int64)
