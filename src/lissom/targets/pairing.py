"""Which weights ONNX Runtime's x86 kernels add in pairs, and how large a pair may be.

Without VNNI the instruction behind u8 x s8 products (pmaddubsw) multiplies unsigned activations
by signed weights and adds two neighbouring products with saturation to 16 bits. Neighbours are
weights 2i and 2i+1 along the reduction axis in the order in which the kernel reads it; the last of
an odd number has none. decisions/0007 holds the experiment, tests/targets/test_pairing.py runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The largest |q1 + q2| of two weights of one sign: 255 * 128 = 32640 fits 16 bits in either sign,
# 255 * 129 = 32895 does not. Products of weights of opposite signs never add up to more than one.
LARGEST_PAIR = 128


@dataclass(frozen=True)
class Layout:
    """How a kernel reads the weights of one operator.

    Attributes:
        axis: the axis of output channels.
        paired: whether products are added in pairs where the machine does so.
    """

    axis: int
    paired: bool
    convolution: bool = False

    def rows(self, weight: NDArray[Any]) -> NDArray[Any]:
        """The weight as `[output channels, depth]` in the order of the reduction.

        Matrices beyond the second axis (a batch of them) are stacked.
        """
        if self.convolution:  # kernel height, kernel width, input channel
            return np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
        if self.axis == 0:
            return weight
        return np.swapaxes(weight, -1, -2).reshape(-1, weight.shape[-2])

    def shaped(self, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Rows back in the weight's own shape."""
        if self.convolution:
            return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
        if self.axis == 0:
            return rows
        return np.swapaxes(rows.reshape(*shape[:-2], shape[-1], shape[-2]), -1, -2)


def convolution_layout(shape: tuple[int, ...], group: int) -> Layout:
    """A convolution's kernel `[outputs, inputs of a group, ...]`.

    Depthwise kernels, one input and one output to each group, have code of their own that sums
    in 32 bits.
    """
    depthwise = shape[1] == 1 and shape[0] == group
    return Layout(axis=0, paired=not depthwise, convolution=True)


def product_layout(*, transposed: bool = False) -> Layout:
    """A matrix `[inputs, outputs]`, or `[outputs, inputs]` for a Gemm with transB."""
    return Layout(axis=0 if transposed else 1, paired=True)


def exceeding(rows: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which pairs of `[channels, depth]` codes may overflow 16 bits: `[channels, depth // 2]`."""
    even = rows.shape[1] // 2 * 2
    wide = rows[:, :even].astype(np.int16)
    first, second = wide[:, 0::2], wide[:, 1::2]
    excess: NDArray[np.bool_] = np.abs(first + second) > LARGEST_PAIR
    return excess
