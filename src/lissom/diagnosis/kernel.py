"""What the integer kernel of one layer loses to saturation: emulated, or as this machine has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.diagnosis.emulate import convolution_loss, is_hit, product_loss
from lissom.diagnosis.reals import Reals
from lissom.diagnosis.section import Section
from lissom.targets.optimized import optimized
from lissom.targets.pairing import Layout, convolution_layout, exceeding, product_layout
from lissom.targets.saturation import INTEGER_WEIGHTS

Array = NDArray[Any]


@dataclass(frozen=True)
class IntegerKernel:
    """An integer kernel some of whose pairs can saturate.

    Attributes:
        weight: signed codes in the weight's shape.
        units: what one step of the sum stands for in the layer's result, to broadcast with it.
        layout: how the kernel reads the weight.
        signed: whether the activation's codes are; the kernel then computes with them plus 128.
    """

    weight: NDArray[np.int8]
    units: Array
    layout: Layout
    signed: bool

    def loss(self, section: Section, found: Mapping[str, Array]) -> Array:
        """What saturation adds to the layer's bare result, in reals.

        Args:
            section: the layer.
            found: its tensors from a run with rounding and clipping.
        """
        entry, layer = section.entry, section.layer
        assert entry is not None and layer is not None
        data = np.asarray(found[layer.data], np.float32)
        units, middle = self.units, entry.zero_point + (128 if self.signed else 0)
        if entry.scale is not None:
            codes = np.rint(data / np.float32(entry.scale)) + middle
        else:
            codes, middle = np.rint(found[entry.codes]), int(np.rint(found[entry.zero]))
            # What a step stands for in the data that the layer reads.
            units = units * (np.vdot(codes, data) / max(float(np.vdot(codes, codes)), 1.0))
            codes = codes + middle
        codes = np.clip(codes, 0, 255).astype(np.uint8)
        if not self.layout.convolution:
            return product_loss(codes, self.weight, self.layout) * units
        return _convolution(layer.node, codes, self.weight, self.layout, middle) * units

    def work(self) -> int:
        """Products of a row of codes that have to be looked at."""
        return int(exceeding(self.layout.rows(self.weight)).sum())


def _convolution(
    node: onnx.NodeProto, codes: Array, weight: Array, layout: Layout, middle: int
) -> Array:
    rank = weight.ndim - 2
    numbers: dict[str, list[int]] = {
        a.name: list(a.ints) for a in node.attribute if a.type == onnx.AttributeProto.INTS
    }
    dilations = numbers.get("dilations") or [1] * rank
    strides = numbers.get("strides") or [1] * rank
    pads = _pads(node, numbers, codes.shape[2:], weight.shape[2:], strides, dilations)
    if rank == 1:
        codes, weight = codes[:, :, None], weight[:, :, None]
        pads, strides, dilations = [0, pads[0], 0, pads[1]], [1, *strides], [1, *dilations]
    group = next((int(a.i) for a in node.attribute if a.name == "group"), 1)
    loss = convolution_loss(
        codes,
        weight,
        layout,
        pad_code=middle,
        pads=pads,
        strides=strides,
        dilations=dilations,
        group=group,
    )
    return loss[:, :, 0] if rank == 1 else loss


def integer_outputs(path: Path) -> set[str]:
    """Outputs of the kernels that add in pairs where a machine does so, with signed weights."""
    with optimized(path) as file:
        graph = ir.load(file).graph
        found: set[str] = set()
        for node in graph:
            places = INTEGER_WEIGHTS.get(node.op_type, ())
            weights = [node.inputs[at] for at in places if at < len(node.inputs)]
            if any(value is not None and value.dtype == ir.DataType.INT8 for value in weights):
                found.update(value.name for value in node.outputs if value.name)
        return found


def kernel(section: Section, reals: Reals, outputs: set[str]) -> IntegerKernel | None:
    """The layer's kernel if it can saturate, from what the runtime computes in integers."""
    layer, weight, entry = section.layer, section.weight, section.entry
    if layer is None or weight is None or entry is None or entry.bits != 8:
        return None
    if np.any(weight.zero_point) or weight.codes.min() < -128 or weight.codes.max() > 127:
        return None
    made = {name for node in section.part.nodes for name in node.output}
    made |= {name for name in reals.same if reals.root(name) == section.root}
    if not made & outputs:
        return None
    codes = weight.codes.astype(np.int8)
    node = layer.node
    if node.op_type == "Conv":
        group = next((int(a.i) for a in node.attribute if a.name == "group"), 1)
        layout = convolution_layout(codes.shape, group)
    else:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        layout = product_layout(transposed=transposed)
        if codes.ndim != 2 or layer.weight not in node.input:
            return None
    units = np.asarray(weight.scale, np.float64).reshape(-1)
    if codes.ndim > 4 or not is_hit(codes, layout):
        return None
    if units.size not in (1, codes.shape[layout.axis]):
        return None
    units = units * (1.0 if entry.scale is None else entry.scale)
    if layout.convolution:
        units = units.reshape(-1, *[1] * (codes.ndim - 2))
    return IntegerKernel(codes, units, layout, entry.signed)


def _pads(
    node: onnx.NodeProto,
    numbers: Mapping[str, list[int]],
    sizes: tuple[int, ...],
    window: tuple[int, ...],
    strides: list[int],
    dilations: list[int],
) -> list[int]:
    """Explicit padding, also of SAME_UPPER and SAME_LOWER."""
    kind = next((a.s.decode() for a in node.attribute if a.name == "auto_pad"), "NOTSET")
    if not kind.startswith("SAME"):
        return numbers.get("pads") or [0] * (2 * len(window))
    before, after = [], []
    for size, width, stride, dilation in zip(sizes, window, strides, dilations, strict=True):
        whole = max(0, (-(-size // stride) - 1) * stride + dilation * (width - 1) + 1 - size)
        small, large = whole // 2, whole - whole // 2
        before.append(small if kind == "SAME_UPPER" else large)
        after.append(large if kind == "SAME_UPPER" else small)
    return [*before, *after]
