"""Moments of what a layer reads, and of what its output lacks: sums over rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# Rows whose products are summed in float32 at a time; the sums over those are float64.
ROWS_AT_ONCE = 2048


class Means:
    """Sums from which the mean error of any weights follows.

    A layer of g groups, o output channels and d inputs in each gives y = W x + b. It really reads
    x^, and with its float weights gives W x^ + b, so that it lacks e = y - W x^ - b of what it
    should give. Weights that differ by D, and a bias that differs by a, leave e - D x^ - a.
    """

    def __init__(self, groups: int, outputs: int, inputs: int) -> None:
        self.count = 0
        self.x = np.zeros((groups, inputs))
        self.e = np.zeros((groups, outputs))

    def add(self, read: Floats, lacking: Floats) -> None:
        """Add rows of x^ `[rows, groups, inputs]` and e `[rows, groups, outputs]`."""
        self.count += len(read)
        self.x += read.sum(axis=0, dtype=np.float64)
        self.e += lacking.sum(axis=0, dtype=np.float64)

    def shift(self, change: Array) -> Array:
        """The bias `[groups, outputs]` that leaves no mean error when weights change by D.

        Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, 2019,
        section 4.2.

        Args:
            change: D `[groups, outputs, inputs]`.
        """
        return self._left(change) / max(self.count, 1)

    def error(self, change: Array, shift: Array) -> Array:
        """The squared mean error `[groups, outputs]`.

        Args:
            change: D `[groups, outputs, inputs]`.
            shift: a `[groups, outputs]`.
        """
        found: Array = np.square(self.shift(change) - shift)
        return found

    def _left(self, change: Array) -> Array:
        found: Array = self.e - np.matmul(change, self.x[..., None])[..., 0]
        return found


class Moments(Means):
    """Second moments besides, from which the squared error follows.

    To sum products of e, not of y, keeps all sums small and their differences exact.
    """

    def __init__(self, groups: int, outputs: int, inputs: int) -> None:
        super().__init__(groups, outputs, inputs)
        self.xx = np.zeros((groups, inputs, inputs))
        self.ex = np.zeros((groups, outputs, inputs))
        self.ee = np.zeros((groups, outputs))

    def add(self, read: Floats, lacking: Floats) -> None:
        """Add rows of x^ `[rows, groups, inputs]` and e `[rows, groups, outputs]`."""
        super().add(read, lacking)
        for start in range(0, len(read), ROWS_AT_ONCE):
            x = np.ascontiguousarray(read[start : start + ROWS_AT_ONCE].transpose(1, 2, 0))
            e = np.ascontiguousarray(lacking[start : start + ROWS_AT_ONCE].transpose(1, 2, 0))
            self.xx += x @ x.swapaxes(1, 2)
            self.ex += e @ x.swapaxes(1, 2)
            self.ee += np.square(e).sum(axis=-1, dtype=np.float64)

    def take(self, others: Moments) -> None:
        """Add the rows that other sums have seen."""
        self.count += others.count
        self.x += others.x
        self.e += others.e
        self.xx += others.xx
        self.ex += others.ex
        self.ee += others.ee

    def second(self, *, centred: bool) -> tuple[Array, Array]:
        """E[x^ x^T] `[groups, inputs, inputs]` and E[e x^T] `[groups, outputs, inputs]`.

        About the means where centred, as suits a layer with a bias of its own.
        """
        count = max(self.count, 1)
        xx, ex = self.xx / count, self.ex / count
        if centred:
            x, e = self.x / count, self.e / count
            xx = xx - x[:, :, None] * x[:, None, :]
            ex = ex - e[:, :, None] * x[:, None, :]
        return xx, ex

    def error(self, change: Array, shift: Array) -> Array:
        """The mean squared error `[groups, outputs]`.

        Args:
            change: D `[groups, outputs, inputs]`.
            shift: a `[groups, outputs]`.
        """
        through = np.einsum("god,god->go", change @ self.xx - 2 * self.ex, change)
        total = self.ee + through - 2 * shift * self._left(change) + self.count * np.square(shift)
        found: Array = np.maximum(total, 0.0) / max(self.count, 1)
        return found
