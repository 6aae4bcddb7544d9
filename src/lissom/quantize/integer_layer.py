"""The integer weights and biases of one layer, behind DequantizeLinear nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.bit_planes import Planes, pack, write_planes
from lissom.graph.edit import Editor, constant_of
from lissom.graph.weights import attribute, linear_weight
from lissom.quantize.affine import Affine, bias_codes
from lissom.quantize.integer_weights import integer_weights, is_odd
from lissom.quantize.weight_range import WeightGrid
from lissom.targets.pairing import Layout, convolution_layout, product_layout

# Weights that are stored already, by the float weight, how a kernel reads it and the bytes of their
# scales.
Stored = dict[tuple[ir.Value, Layout, bytes], "StoredWeight"]


@dataclass(frozen=True)
class StoredWeight:
    """The initializers of a weight: its codes, a scale and a zero point for each channel.

    Attributes:
        codes: as they are stored, planes of bits for example.
        scales: `[channels]`.
        zeros: `[channels]`, of the type that a kernel reads.
        planes: which planes they are, None where they are a tensor of the weight's shape.
        unpacked: the int8 codes that nodes make of planes or of a narrower type, or None.
    """

    codes: ir.Value
    scales: ir.Value
    zeros: ir.Value
    planes: Planes | None = None
    unpacked: ir.Value | None = None


@dataclass(frozen=True)
class IntegerLayer:
    """One layer after its weights became integer, with what it takes to choose them again.

    Attributes:
        node: the layer.
        weight: its float weight as the kernel reads it.
        layout: how the kernel reads it.
        stored: its weight in the file, which other layers may share.
        bias: `[channels]` float32, None where it has none or one that differs from row to row.
        activation: the grid of its input.
        grid: which codes its weight may have.
        least: `[channels]`, scales below which the bias would not fit, or None.
    """

    node: ir.Node
    weight: NDArray[np.float32]
    layout: Layout
    stored: StoredWeight
    bias: NDArray[np.float32] | None
    activation: Affine
    grid: WeightGrid
    least: NDArray[np.float32] | None

    @property
    def stem(self) -> str:
        """The name of its weight."""
        return (self.stored.codes.name or "").partition("_quantized")[0]

    @property
    def codes(self) -> NDArray[np.int8]:
        """The codes in the weight's shape."""
        if self.stored.planes is not None:
            return self.stored.planes.codes()
        codes = constant_of(self.stored.codes)
        assert codes is not None
        return codes.astype(np.int8)

    @property
    def scales(self) -> NDArray[np.float32]:
        """One scale for each channel."""
        scales = constant_of(self.stored.scales)
        assert scales is not None
        return np.asarray(scales, np.float32)


def quantize_layer(
    editor: Editor,
    node: ir.Node,
    parameters: dict[ir.Value, Affine],
    grid: WeightGrid,
    stored: Stored,
) -> IntegerLayer:
    """Put integer weights and an int32 bias behind DequantizeLinear nodes."""
    source, weight = node.inputs[0], node.inputs[1]
    assert source is not None
    assert weight is not None
    array, layout = _weight_and_layout(node)
    axis = layout.axis
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    values = _as_vector(constant_of(bias), array.shape[axis])
    activation = parameters[source]
    least = None if values is None else _smallest_scales(values, activation)
    codes, scales = integer_weights(array, layout, grid, least=least)
    stem = weight.name or "weight"
    # A symmetric matrix has the same scales along both axes, and other codes; a depthwise kernel
    # has codes that a grouped convolution of the same weight may not have.
    key = (weight, layout, scales.tobytes())
    if key not in stored:
        stored[key] = _store_weight(editor, node, codes, scales, stem, grid)
    three = stored[key]
    node.replace_input_with(1, _dequantized(editor, node, three, stem, axis))
    layer = IntegerLayer(node, array, layout, three, values, activation, grid, least)
    if values is not None:
        _write_bias(editor, layer, values, scales)
    return layer


def rewrite_layer(
    editor: Editor,
    layer: IntegerLayer,
    codes: NDArray[Any],
    scales: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
) -> bool:
    """Give a layer other codes, scales and bias; False, and no change, where the bias overflows.

    Args:
        editor: of the graph.
        layer: the only one with this weight, unless codes and scales are what they were.
        codes: of the weight's shape.
        scales: `[channels]`.
        bias: `[channels]`, None for a layer whose kernel takes none.
    """
    if bias is not None and not _write_bias(editor, layer, bias, scales):
        return False
    planes = layer.stored.planes
    kept = codes if planes is None else pack(codes, planes.bits, odd=planes.odd)
    for value, array in ((layer.stored.codes, kept), (layer.stored.scales, scales)):
        tensor = value.const_value
        assert tensor is not None
        value.const_value = ir.tensor(
            array.astype(tensor.dtype.numpy()), dtype=tensor.dtype, name=value.name
        )
    return True


def _write_bias(
    editor: Editor,
    layer: IntegerLayer,
    bias: NDArray[np.float32],
    scales: NDArray[np.float32],
) -> bool:
    """Give a layer an int32 bias at the product of scales; False, and no change, on overflow."""
    product = scales * layer.activation.scale
    integers = bias_codes(bias, product)
    if integers is None:
        return False
    node = layer.node
    given = node.inputs[2] if len(node.inputs) > 2 else None
    dequantize = given.producer() if given is not None else None
    if dequantize is not None and dequantize.op_type == "DequantizeLinear":
        for value, array in zip(dequantize.inputs[:2], (integers, product), strict=True):
            assert value is not None
            value.const_value = ir.tensor(array, name=value.name)
        return True
    stem = f"{layer.stem}_bias" if given is None else given.name or "bias"
    three = StoredWeight(
        editor.constant(f"{stem}_quantized", integers), *_grid(editor, product, stem, np.int32)
    )
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, _dequantized(editor, node, three, stem, 0))
    return True


def _weight_and_layout(node: ir.Node) -> tuple[NDArray[np.float32], Layout]:
    """The weight as the node reads it, and how its kernel does."""
    layer = linear_weight(node)
    if layer is None:
        kernel = constant_of(node.inputs[1])
        assert kernel is not None
        group = int(attribute(node, "group", 1))
        return np.asarray(kernel, np.float32), convolution_layout(kernel.shape, group)
    if layer.transposed and node.op_type == "Gemm":
        return layer.matrix().T, product_layout(transposed=True)
    return layer.matrix(), product_layout()


def _as_vector(bias: NDArray[Any] | None, channels: int) -> NDArray[np.float32] | None:
    """A bias as one number per channel, or None when it differs from row to row."""
    if bias is None or bias.size not in (1, channels):
        return None
    if bias.size == channels and bias.ndim and bias.shape[-1] != channels:
        return None
    return np.broadcast_to(np.asarray(bias, np.float32).reshape(-1), (channels,))


def _smallest_scales(bias: NDArray[np.float32], activation: Affine) -> NDArray[np.float32]:
    """The scales of a weight below which its bias would not fit int32 at the product of scales."""
    return (np.abs(bias.astype(np.float64)) / 2**29 / float(activation.scale)).astype(np.float32)


def _store_weight(
    editor: Editor,
    before: ir.Node,
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    stem: str,
    grid: WeightGrid,
) -> StoredWeight:
    """A weight as initializers, and whatever makes int8 codes of what is narrower.

    ONNX Runtime computes the nodes for that while it loads and then fuses as it does with stored
    int8; with four-bit codes in front of DequantizeLinear the layer would stay float.
    """
    if grid.in_planes:
        odd = is_odd(codes, grid)
        name = f"{stem}_quantized"
        planes, wide = write_planes(editor, before, codes, grid.bits, name, odd=odd)
        return StoredWeight(planes.value, *_grid(editor, scales, stem, np.int8), planes, wide)
    narrow = grid.type.bitwidth < 8
    packed = codes.astype(grid.type.numpy()) if narrow else codes
    value = editor.constant(f"{stem}_quantized", packed)
    both = _grid(editor, scales, stem, np.int8)
    if not narrow:
        return StoredWeight(value, *both)
    to = {"to": int(ir.DataType.INT8)}
    (wide,) = editor.node(before, "Cast", [value], stem=f"{stem}_int8", attributes=to)
    return StoredWeight(value, *both, None, wide)


def _grid(
    editor: Editor, scales: NDArray[np.float32], stem: str, code: type[np.integer[Any]]
) -> tuple[ir.Value, ir.Value]:
    """Scales and as many zero points of 0 as initializers."""
    return (
        editor.constant(f"{stem}_scale", scales),
        editor.shared(f"zeros_{np.dtype(code).name}_{scales.size}", np.zeros(scales.shape, code)),
    )


def _dequantized(
    editor: Editor, node: ir.Node, stored: StoredWeight, stem: str, axis: int
) -> ir.Value:
    """What DequantizeLinear makes of codes."""
    codes = stored.codes if stored.unpacked is None else stored.unpacked
    (result,) = editor.node(
        node,
        "DequantizeLinear",
        [codes, stored.scales, stored.zeros],
        stem=f"{stem}_dequantize",
        attributes={"axis": axis},
    )
    return result
