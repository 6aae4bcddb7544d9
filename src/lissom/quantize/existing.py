"""Pairs of QuantizeLinear and DequantizeLinear that a graph came with, which stay as they are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lissom.graph.edit import constant_of
from lissom.quantize.affine import Affine


def existing_affine(value: ir.Value) -> Affine | None:
    """Scale and zero point of an activation that comes out of 8-bit codes, else None."""
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear" or node.domain:
        return None
    codes = node.inputs[0]
    if codes is None or codes.producer() is None:
        return None
    scale = constant_of(node.inputs[1])
    zero = constant_of(node.inputs[2]) if len(node.inputs) > 2 else np.asarray(0, np.uint8)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    if scale.dtype != np.float32 or zero.dtype not in (np.uint8, np.int8):
        return None
    code = np.uint8 if zero.dtype == np.uint8 else np.int8
    return Affine(np.float32(scale.item()), code(zero.item()))


def is_read_as_codes(value: ir.Value) -> bool:
    """Whether QuantizeLinear, and nothing else, reads a value."""
    readers = [use.node.op_type for use in value.uses()]
    return bool(readers) and set(readers) == {"QuantizeLinear"} and not value.is_graph_output()
