"""What a layer reads and gives at the same places, as rows of a matrix product."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from lissom.quantize.layer_rows import Window

Floats = NDArray[np.float32]
Places = NDArray[np.intp]


def rows_at(
    window: Window, read: Floats, given: Floats, samples: Places, places: Places
) -> tuple[Floats, Floats]:
    """Rows of what a layer reads `[rows, groups, depth]` and gives `[rows, groups, outputs]`.

    The depth of a convolution runs as kernels reduce: its sides first, then the input channels of
    a group (targets/pairing.py).

    Args:
        window: what it reads at once.
        read: what it reads, samples along the first axis.
        given: what it gives, or should give.
        samples: the sample of each row.
        places: the place of each row within its sample.
    """
    if not window.kernel:
        one = read.reshape(len(read), -1, read.shape[-1])[samples, places]
        other = given.reshape(len(given), -1, given.shape[-1])[samples, places]
        return one[:, None], other[:, None]
    sides = given.shape[2:]
    ends = np.unravel_index(places, sides)
    x = _windows(window, np.moveaxis(read, 1, -1), samples, ends, _front(window, read, sides))
    y = np.moveaxis(given, 1, -1)[(samples, *ends)]
    return x, y.reshape(len(y), window.group, -1)


def _windows(
    window: Window,
    last: Floats,
    samples: Places,
    ends: tuple[Places, ...],
    front: tuple[int, ...],
) -> Floats:
    """Windows of a tensor `[samples, ..., channels]`, zero outside of it."""
    channels = last.shape[-1]
    found = np.zeros((len(samples), math.prod(window.kernel), channels), np.float32)
    for number, offsets in enumerate(itertools.product(*map(range, window.kernel))):
        spots = [
            end * stride + offset * dilation - before
            for end, stride, offset, dilation, before in zip(
                ends, window.strides, offsets, window.dilations, front, strict=True
            )
        ]
        inside = np.ones(len(samples), bool)
        for spot, size in zip(spots, last.shape[1:], strict=False):
            inside &= (spot >= 0) & (spot < size)
        found[inside, number] = last[(samples[inside], *(spot[inside] for spot in spots))]
    parts = found.reshape(len(samples), -1, window.group, channels // window.group)
    return parts.transpose(0, 2, 1, 3).reshape(len(samples), window.group, -1)


def _front(window: Window, read: Floats, sides: tuple[int, ...]) -> tuple[int, ...]:
    """How many zeros stand before each side."""
    if window.pads is not None:
        return window.pads[: len(sides)]
    found = []
    for number, side in enumerate(sides):
        reach = window.dilations[number] * (window.kernel[number] - 1) + 1
        missing = max(0, (side - 1) * window.strides[number] + reach - read.shape[2 + number])
        found.append(missing // 2 if window.upper else missing - missing // 2)
    return tuple(found)
