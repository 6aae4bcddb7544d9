"""Weights in blocks of 8, 4 or 2 bits: one scale and zero point per block of a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Shrunken ranges that are tried for every block; the full range is the first, so ties keep it.
SHRINK = {8: (1.0,), 4: tuple(np.linspace(1.0, 0.6, 17)), 2: tuple(np.linspace(1.0, 0.3, 29))}
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Blocks:
    """A matrix `[rows, depth]` in blocks along its rows.

    Attributes:
        codes: `[rows, blocks, block]` uint8, each below 2**bits.
        scales: `[rows, blocks]` float32.
        zero_points: `[rows, blocks]` uint8.
        depth: length of a row before padding to whole blocks.
    """

    codes: NDArray[np.uint8]
    scales: Floats
    zero_points: NDArray[np.uint8]
    depth: int

    def dequantize(self) -> Floats:
        """The matrix these codes stand for, `[rows, depth]`."""
        centred = self.codes.astype(np.float32) - self.zero_points[..., None]
        full = centred * self.scales[..., None]
        return full.reshape(len(full), -1)[:, : self.depth]


def quantize_blocks(matrix: Floats, bits: int, block: int) -> Blocks:
    """Round every block of a `[rows, depth]` matrix on the asymmetric grid of least square error.

    For each block the range [min, max], widened to hold zero, is shrunk by several factors and
    the one with the smallest sum of squared rounding and clipping errors is kept. Works on
    `ROWS_AT_ONCE` rows at a time.
    """
    rows, depth = matrix.shape
    count = -(-depth // block)
    codes = np.empty((rows, count, block), np.uint8)
    scales = np.empty((rows, count), np.float32)
    zero_points = np.empty((rows, count), np.uint8)
    for start in range(0, rows, ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        padded = np.zeros((len(matrix[part]), count * block), np.float32)
        padded[:, :depth] = matrix[part]
        values = padded.reshape(-1, count, block)
        codes[part], scales[part], zero_points[part] = _best_grid(values, bits)
    return Blocks(codes, scales, zero_points, depth)


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Put codes into bytes along the last axis, the first code in the lowest bits.

    The last axis must be a multiple of 8 // bits codes long.
    """
    per_byte = 8 // bits
    grouped = codes.reshape(*codes.shape[:-1], -1, per_byte)
    packed = np.zeros(grouped.shape[:-1], np.uint8)
    for index in range(per_byte):
        packed |= grouped[..., index] << np.uint8(bits * index)
    return packed


def pack_padded(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """`pack` after filling the last axis with zeros up to whole bytes."""
    missing = -codes.shape[-1] % (8 // bits)
    return pack(np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)]), bits)


def _best_grid(values: Floats, bits: int) -> tuple[NDArray[np.uint8], Floats, NDArray[np.uint8]]:
    levels = 2**bits - 1
    low = np.minimum(values.min(axis=-1), 0.0)
    high = np.maximum(values.max(axis=-1), 0.0)
    best: tuple[NDArray[np.uint8], Floats, NDArray[np.uint8]] | None = None
    least = np.full(low.shape, np.inf, np.float32)
    for factor in map(np.float32, SHRINK[bits]):
        # Divided first: the width of a range may be beyond float32 though its ends are not.
        scales = (high / np.float32(levels) - low / np.float32(levels)) * factor
        scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1.0), scales)
        zero_points = np.clip(np.rint(-low * factor / scales), 0, levels)
        steps = np.rint(values / scales[..., None]) + zero_points[..., None]
        codes = np.clip(steps, 0, levels)
        errors = (codes - zero_points[..., None]) * scales[..., None] - values
        squares = np.einsum("rbk,rbk->rb", errors, errors)
        if best is None:
            best = codes.astype(np.uint8), scales, zero_points.astype(np.uint8)
            least = squares
            continue
        better = squares < least
        best[0][better] = codes[better].astype(np.uint8)
        best[1][better] = scales[better]
        best[2][better] = zero_points[better].astype(np.uint8)
        least = np.where(better, squares, least)
    assert best is not None
    return best
