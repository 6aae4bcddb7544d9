"""Weights that a graph stores in eight bits or fewer: what somebody quantized before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from lissom.graph.inventory import Stored

# Operators that compute with codes or unpack them; QLinearConv and the like are met by their name.
READERS = frozenset(
    {
        "ConvInteger", "DequantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul",
        "GatherBlockQuantized", "MatMulBnb4", "MatMulInteger", "MatMulInteger16",
        "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QEmbedLayerNormalization", "QGemm",
        "QMoE",
    }
)  # fmt: skip
WIDEST = 8


@dataclass(frozen=True)
class Quantized:
    """Tensors of codes that operators of one kind read."""

    op_type: str
    tensors: int
    bytes: int


def is_codes(stored: Stored) -> bool:
    """Whether a tensor holds the codes of quantized weights."""
    if stored.planes is not None or stored.unpacks:
        return stored.planes is not None
    dtype = stored.tensor.dtype
    narrow = dtype.bitwidth <= WIDEST and dtype not in (ir.DataType.BOOL, ir.DataType.UNDEFINED)
    return narrow and stored.tensor.size > 1 and (_behind(stored) or _is_reader(stored.reader))


def quantized(inventory: Iterable[Stored]) -> tuple[Quantized, ...]:
    """What is quantized already, by the operator that computes with it, the most bytes first."""
    groups: dict[str, list[int]] = {}
    for stored in inventory:
        if is_codes(stored) and stored.reader is not None:
            groups.setdefault(stored.reader.op_type, []).append(stored.tensor.nbytes)
    found = [Quantized(kind, len(sizes), sum(sizes)) for kind, sizes in groups.items()]
    return tuple(sorted(found, key=lambda each: (-each.bytes, each.op_type)))


def _is_reader(node: ir.Node | None) -> bool:
    return node is not None and (node.op_type in READERS or node.op_type.startswith("QLinear"))


def _behind(stored: Stored) -> bool:
    """Whether a DequantizeLinear stands between the tensor and its reader, or another form does.

    Dynamic quantization looks rows of codes up before it casts them, so Gather counts too; codes
    of four bits are cast before they are dequantized.
    """
    readers = [use.node for use in stored.value.uses()]
    cast = [node for node in readers if node.op_type == "Cast"]
    readers += [use.node for node in cast for use in node.outputs[0].uses()]
    return any(node.op_type in ("DequantizeLinear", "Gather") for node in readers)
