"""Codes that a file stores for a constant, and the reals they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.quantize.affine import along

Array = NDArray[Any]
CODES = frozenset(
    {
        ir.DataType.INT2, ir.DataType.UINT2, ir.DataType.INT4, ir.DataType.UINT4,
        ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16,
        ir.DataType.INT32,
    }
)  # fmt: skip


@dataclass(frozen=True)
class StoredWeight:
    """Codes that a file stores for a weight.

    Attributes:
        codes: integers in the weight's shape.
        scale: one number or one per channel of `axis`, or blocks of it.
        zero_point: likewise.
        axis: along which scales differ, None where there is one.
        bits: width of the type they are stored in.
    """

    codes: Array
    scale: Array
    zero_point: Array
    axis: int | None
    bits: int

    def reals(self) -> NDArray[np.float32]:
        """What they stand for, float32."""
        found: NDArray[np.float32] = self.codes.astype(np.float32)
        if np.any(self.zero_point):
            found -= self.zero_point.astype(np.float32)
        found *= self.scale.astype(np.float32)
        return found


def stored_weight(
    codes: Array, scale: Array, zero: Array | None, axis: int, block: int, bits: int
) -> StoredWeight:
    """A constant as DequantizeLinear reads it.

    Args:
        codes: integers.
        scale: one, one for each channel of `axis`, or one for each block along it.
        zero: likewise; None for 0.
        axis: negative ones count from the end.
        block: length of a block, 0 without blocks.
        bits: of a code.
    """
    zeros = np.zeros(scale.shape, np.int64) if zero is None else np.asarray(zero)
    if scale.size == 1 or not codes.ndim:
        return StoredWeight(codes, scale.reshape(()), zeros.reshape(()), None, bits)
    axis %= codes.ndim
    if block:
        whole = tuple(slice(size) for size in codes.shape)
        scale, zeros = (np.repeat(each, block, axis=axis)[whole] for each in (scale, zeros))
    else:
        scale, zeros = (along(each, axis, codes.ndim) for each in (scale, zeros))
    return StoredWeight(codes, scale, zeros, axis, bits)


def rounded(array: Array, scale: Array, zero: Array | None, axis: int, dtype: ir.DataType) -> Array:
    """The codes that QuantizeLinear makes of a constant; in eight bits where numpy has no fewer."""
    if scale.size > 1:
        scale = along(scale, axis % array.ndim, array.ndim)
        zero = None if zero is None else along(zero, axis % array.ndim, array.ndim)
    low, high = limits(dtype)
    middle = 0 if zero is None else zero.astype(np.int64)
    codes = np.clip(np.rint(array.astype(np.float32) / scale) + middle, low, high)
    if dtype.bitwidth < 8:
        return codes.astype(np.uint8 if low == 0 else np.int8)
    return codes.astype(dtype.numpy())


def limits(dtype: ir.DataType) -> tuple[int, int]:
    """The least and the largest code of a type."""
    if not dtype.is_signed():
        return 0, int(2**dtype.bitwidth) - 1
    half = int(2 ** (dtype.bitwidth - 1))
    return -half, half - 1
