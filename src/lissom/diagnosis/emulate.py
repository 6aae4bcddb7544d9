"""What sums of products of 8-bit codes lose where pairs of them are added in 16 bits.

On x86 without VNNI the instruction behind u8 x s8 products (pmaddubsw) adds two neighbouring
products with saturation to 16 bits (targets/pairing.py). These functions compute how far its sums
are from exact ones, so that the loss can be told on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.targets.pairing import Layout, exceeding

LOWEST, HIGHEST = -(2**15), 2**15 - 1
# Products that are held at a time.
PIECE = 1 << 22


def pair_loss(codes: NDArray[np.uint8], weights: NDArray[np.int8]) -> NDArray[np.int32]:
    """What saturation adds to each exact sum of products.

    Args:
        codes: unsigned activations `[rows, depth]`.
        weights: signed weights `[channels, depth]`, in the order in which the kernel reads them.

    Returns:
        `[rows, channels]`, zero where nothing saturates.
    """
    loss = np.zeros((len(codes), len(weights)), np.int32)
    excess = exceeding(weights)
    pairs = np.flatnonzero(excess.any(axis=0))
    for pair in pairs:
        channels = np.flatnonzero(excess[:, pair])
        one, two = weights[channels, 2 * pair], weights[channels, 2 * pair + 1]
        step = max(1, PIECE // channels.size)
        for start in range(0, len(codes), step):
            part = slice(start, start + step)
            left = codes[part, 2 * pair].astype(np.int32)
            right = codes[part, 2 * pair + 1].astype(np.int32)
            # Only where both neighbours are large enough together.
            rows = np.flatnonzero(left + right > HIGHEST // 128)
            if not rows.size:
                continue
            sums = np.multiply.outer(left[rows], one) + np.multiply.outer(right[rows], two)
            loss[start + rows[:, None], channels[None, :]] += np.clip(sums, LOWEST, HIGHEST) - sums
    return loss


def product_loss(
    codes: NDArray[np.uint8], weight: NDArray[np.int8], layout: Layout
) -> NDArray[np.int32]:
    """The loss of a matrix product of `[..., depth]` codes, in the shape of the result."""
    rows = codes.reshape(-1, codes.shape[-1])
    loss = pair_loss(rows, np.ascontiguousarray(layout.rows(weight)))
    return loss.reshape(*codes.shape[:-1], -1)


def convolution_loss(
    codes: NDArray[np.uint8],
    weight: NDArray[np.int8],
    layout: Layout,
    *,
    pad_code: int,
    pads: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    group: int,
) -> NDArray[np.int32]:
    """The loss of a convolution of `[batch, channels, height, width]` codes, in the result's shape.

    Args:
        codes: unsigned activations.
        weight: `[outputs, inputs of a group, height, width]`.
        layout: how the kernel reads the weight.
        pad_code: the code of zero, with which the image is padded.
        pads: rows and columns before, then after, as ONNX has them.
        strides, dilations: of height and width.
        group: how many groups of channels there are.
    """
    padded = np.pad(
        codes,
        ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])),
        constant_values=pad_code,
    )
    height, width = weight.shape[2:]
    reach = [dilations[0] * (height - 1) + 1, dilations[1] * (width - 1) + 1]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    rows = np.ascontiguousarray(layout.rows(weight))
    inputs, outputs = weight.shape[1], len(weight) // group
    losses = []
    for number in range(group):
        mine = windows[:, number * inputs : (number + 1) * inputs]
        # Batch, rows and columns of the result; then height, width, channel of the kernel.
        order = mine.transpose(0, 2, 3, 4, 5, 1)
        flat = order.reshape(-1, height * width * inputs)
        part = rows[number * outputs : (number + 1) * outputs]
        losses.append(pair_loss(flat, part).reshape(*order.shape[:3], outputs))
    return np.concatenate(losses, axis=-1).transpose(0, 3, 1, 2)


def is_hit(weight: NDArray[Any], layout: Layout) -> bool:
    """Whether some pair of a weight can saturate."""
    return layout.paired and weight.dtype == np.int8 and bool(exceeding(layout.rows(weight)).any())
