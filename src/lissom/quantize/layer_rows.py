"""A few of the rows that a layer multiplies by its weights, from what it reads of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.weights import attribute

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """What a layer reads at once: of a convolution a window of pixels, of a product one row.

    Attributes:
        group: parts that the channels fall into; 1 for a product.
        kernel, strides, dilations: of each side; empty for a product.
        pads: before each side, and then after each; None is as many as keep the size (`upper`
            tells where an odd one goes).
    """

    group: int = 1
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] | None = ()
    upper: bool = True

    @classmethod
    def of(cls, node: ir.Node) -> Window:
        """That of a Conv, Gemm or MatMul with constant weights."""
        if node.op_type != "Conv":
            return cls()
        weight = node.inputs[1]
        assert weight is not None and weight.const_value is not None
        kernel = tuple(int(size) for size in weight.const_value.shape.numpy()[2:])
        sides = len(kernel)
        same = node.attributes.get_string("auto_pad", "NOTSET")
        pads = None if same.startswith("SAME") else _ints(node, "pads", 0, 2 * sides)
        return cls(
            int(attribute(node, "group", 1)),
            kernel,
            _ints(node, "strides", 1, sides),
            _ints(node, "dilations", 1, sides),
            pads,
            same != "SAME_LOWER",
        )

    def rows(self, array: NDArray[Any], count: int, random: np.random.Generator) -> Floats:
        """At most `count` rows, drawn at random: `[count, group, depth]`.

        The depth of a convolution is input channel, then the kernel's sides, as its weights lie.
        """
        if not self.kernel:
            flat = array.reshape(-1, 1, array.shape[-1])
            picked = random.choice(len(flat), min(count, len(flat)), replace=False)
            return np.asarray(flat[np.sort(picked)], np.float32)
        sides = array.shape[2:]
        pads = self._pads(sides)
        index: list[NDArray[np.intp]] = [random.integers(0, len(array), count)]
        inside = np.ones((count, *self.kernel), bool)
        for side, size in enumerate(sides):
            reach = self.dilations[side] * (self.kernel[side] - 1) + 1
            places = (size + pads[side] + pads[side + len(sides)] - reach) // self.strides[side] + 1
            start = random.integers(0, max(1, places), count) * self.strides[side] - pads[side]
            at = start[:, None] + np.arange(self.kernel[side]) * self.dilations[side]
            shape = [count] + [1] * len(sides)
            shape[1 + side] = -1
            inside &= ((at >= 0) & (at < size)).reshape(shape)
            index.append(np.clip(at, 0, size - 1).reshape(shape))
        index[0] = index[0].reshape(-1, *[1] * len(sides))
        found = np.moveaxis(array, 1, -1)[tuple(index)] * inside[..., None]
        return np.moveaxis(found, -1, 1).reshape(count, self.group, -1).astype(np.float32)

    def _pads(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        if self.pads is not None:
            return self.pads
        before, after = [], []
        for side, size in enumerate(sides):
            reach = self.dilations[side] * (self.kernel[side] - 1) + 1
            places = -(-size // self.strides[side])
            total = max(0, (places - 1) * self.strides[side] + reach - size)
            less, more = total // 2, total - total // 2
            before.append(less if self.upper else more)
            after.append(more if self.upper else less)
        return (*before, *after)


def _ints(node: ir.Node, name: str, default: int, count: int) -> tuple[int, ...]:
    found = node.attributes.get(name)
    return (default,) * count if found is None else tuple(int(n) for n in found.as_ints())
