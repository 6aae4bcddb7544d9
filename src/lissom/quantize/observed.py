"""Sums of what a quantized layer reads and lacks, at places drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.overlap import MASK
from lissom.quantize.integer_layer import IntegerLayer
from lissom.quantize.layer_rows import Window
from lissom.quantize.moments import Means
from lissom.quantize.patches import rows_at

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Places = NDArray[np.intp]
Batch = Mapping[str, NDArray[Any]]

# Rows that are looked at of each layer: what it reads at so many places of all samples together.
ROWS = 16384
# Every so many samples one is held out.
HELD_OUT = 4


class Observed:
    """A layer with the sums of its rows, those of held-out samples apart.

    Attributes:
        layer: the layer.
        weight: its float weight `[groups, outputs, depth]`, depth in the order of the reduction.
        used, held_out: the sums.
        places: rows of one sample: windows of an image, tokens of a text.
    """

    def __init__(self, layer: IntegerLayer, window: Window, kind: type[Means]) -> None:
        self.layer = layer
        self.window = window
        self.weight = self.split(layer.weight)
        self.used, self.held_out = (kind(*self.weight.shape) for _ in range(2))
        self.places = 1
        self._narrow = self.weight.astype(np.float32).swapaxes(1, 2)

    def split(self, weight: NDArray[Any]) -> Array:
        """Anything of the weight's shape as `[groups, outputs, depth]`."""
        rows = self.layer.layout.rows(weight).astype(np.float64)
        return rows.reshape(self.window.group, -1, rows.shape[-1])

    def joined(self, rows: Array) -> NDArray[Any]:
        """The inverse of `split`."""
        flat = rows.reshape(-1, rows.shape[-1])
        return np.ascontiguousarray(self.layer.layout.shaped(flat, self.layer.weight.shape))

    def add(
        self, batch: Batch, read: Floats, given: Floats, first: int, total: int, seed: int
    ) -> None:
        """Add the rows of a batch.

        Args:
            batch: the inputs of the network, in which an attention mask leaves padding out.
            read: what the layer reads.
            given: what it should give.
            first: how many samples came before.
            total: how many samples there are in all.
            seed: seeds the choice of places.
        """
        samples, places = self._drawn(batch.get(MASK), given, first, total, seed)
        x, y = rows_at(self.window, read, given, samples, places)
        lacking = y - np.matmul(x.transpose(1, 0, 2), self._narrow).transpose(1, 0, 2)
        if self.layer.bias is not None:
            lacking -= self.layer.bias.reshape(lacking.shape[1:])
        apart = (samples + first) % HELD_OUT == HELD_OUT - 1
        self.used.add(x[~apart], lacking[~apart])
        self.held_out.add(x[apart], lacking[apart])

    def _drawn(
        self, mask: NDArray[Any] | None, given: Floats, first: int, total: int, seed: int
    ) -> tuple[Places, Places]:
        """Samples and places within them, in order."""
        sides = given.shape[2:] if self.window.kernel else given.shape[1:-1]
        size = int(np.prod(sides, dtype=np.intp))
        self.places = size
        every = np.arange(len(given) * size)
        if not self.window.kernel and mask is not None and mask.shape == given.shape[:-1]:
            every = np.flatnonzero(mask)
        quota = -(-ROWS * len(given) // total)
        if len(every) > quota:
            random = np.random.default_rng((seed, first))
            every = np.sort(random.choice(every, quota, replace=False))
        return every // size, every % size
