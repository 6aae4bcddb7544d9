"""How far the outputs of two graphs lie apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.compared import compared
from lissom.quantize.replay import Replay

Array = NDArray[Any]
Batch = Mapping[str, Array]
# What is larger is a mask's, such as the least float32 in front of a Softmax, and no signal.
MASK = 1e18
TINY = 1e-30


@dataclass
class RelativeError:
    """Running sums of how far one tensor is from another.

    Attributes:
        error: of the squared differences; infinite where a number became none.
        power: of the squares of what is true.
        count: values that were compared. Masked ones are not, nor is a batch in which one of the
            two holds more values than the other.
    """

    error: float = 0.0
    power: float = 0.0
    count: int = 0

    def add(self, truth: Array, found: Array) -> None:
        """Take in a batch."""
        if found.size == truth.size:
            signal = np.asarray(truth, np.float64)[is_signal(truth)]
            self.error += float(squares(truth, found).sum())
            self.power += float(signal @ signal)
            self.count += signal.size

    @property
    def relative(self) -> float:
        """The one sum over the other; NaN where nothing was compared."""
        if not self.count:
            return math.nan
        return self.error / max(self.power, TINY)


def is_signal(truth: Array) -> NDArray[np.bool_]:
    """Where an original's tensor holds numbers that count: no masks, infinite ones, or NaN."""
    found: NDArray[np.bool_] = np.abs(np.asarray(truth, np.float64)) < MASK
    return found


def squares(truth: Array, found: Array) -> NDArray[np.float64]:
    """Squared differences, in the shape of the truth: 0 where that is masked.

    Infinite where a number became infinite or NaN.
    """
    wide = np.asarray(truth, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.square(np.asarray(found, np.float64).reshape(wide.shape) - wide)
    return np.where(is_signal(wide), np.where(np.isnan(off), np.inf, off), 0.0)


def largest(errors: Iterable[float]) -> float:
    """The largest of those that are known; NaN if none is."""
    return max((error for error in errors if not math.isnan(error)), default=math.nan)


def output_errors(
    reference: ir.Model, models: Sequence[ir.Model], batches: Sequence[Batch]
) -> list[float]:
    """For each model, the squared error of its outputs over the square of the reference's.

    Of several outputs the relative errors are averaged; where nothing can be compared the errors
    are 0. Outputs that are labels, or of no fixed size, stand for what they are made of.
    """
    known = [{value.name for node in each.graph for value in node.outputs} for each in models]
    names = [name for name in compared(reference) if all(name in each for each in known)]
    if not names:
        return [0.0] * len(models)
    runs = [next(iter(Replay(each, [names], batches, most=0))) for each in (reference, *models)]
    sums = [[RelativeError() for _ in names] for _ in models]
    for truth, *found in zip(*runs, strict=True):
        for mine, arrays in zip(sums, found, strict=True):
            for each, name in zip(mine, names, strict=True):
                each.add(truth[name], arrays[name])
    relative = [[each.relative for each in mine if each.count] for mine in sums]
    return [float(np.mean(errors)) if errors else 0.0 for errors in relative]
