"""Layers whose kernel rounds inside: run as the file has them, beside what they should compute."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from lissom.diagnosis.cut import Network, Part

# The accuracy level from which on MatMulNBits rounds its inputs to int8, in blocks.
INTEGER_LEVEL = 4


def native_part(compressed: Network, given: Collection[str], root: str) -> Part | None:
    """The part of the file itself that computes a tensor, if one of its kernels rounds inside.

    None where the tensors are not in the file, as between operators that give codes.
    """
    if root not in compressed.maker:
        return None
    part = compressed.between(given, [root])
    known = compressed.maker.keys() | compressed.inputs.keys()
    if not set(part.inputs) <= known or not any(_rounds(node) for node in part.nodes):
        return None
    return part


def _rounds(node: onnx.NodeProto) -> bool:
    return node.op_type == "MatMulNBits" and any(
        each.name == "accuracy_level" and each.i >= INTEGER_LEVEL for each in node.attribute
    )
