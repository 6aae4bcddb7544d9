"""Bring a file of an old operator set to the oldest that quantization per channel works with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx import version_converter
from onnx_ir.passes import common as passes

from lissom import onnx_check
from lissom.errors import ModelError
from lissom.onnx_file import as_graph

# DequantizeLinear has an axis from here on.
OLDEST_OPSET = 13
# The representation that this operator set came with.
OLDEST_IR = 7
# Tensors of four bits came with this operator set, and with this representation.
FOUR_BITS_OPSET = 21
FOUR_BITS_IR = 10
# Before this one, every initializer had to be listed among the inputs.
CONSTANT_INITIALIZERS = 4
# The converter reads small tensors (shapes, scales); larger ones need not pass through it.
FEW_VALUES = 1024
EXPORT = "export it again with operator set 13 or newer (torch.onnx.export(..., opset_version=17))"
# What onnx's converter raises for an operator it cannot translate or a graph it cannot read.
CONVERTER_ERRORS = (
    version_converter.ConvertError, onnx.checker.ValidationError, IndexError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip


def is_old(model: ir.Model) -> bool:
    """Whether the model must be converted before anything is done to it."""
    return opset_of(model) < OLDEST_OPSET


def opset_of(model: ir.Model) -> int:
    """The version of ONNX's own operators; the oldest that is new enough where it uses none."""
    return model.opset_imports.get("", OLDEST_OPSET)


def convert_opset(path: Path) -> ir.Model:
    """The model of a file in operator set 13, by onnx's own converter; its weights stay mapped.

    Raises:
        ModelError: an operator of the model cannot be translated.
    """
    proto = onnx_check.parse(path)
    before = next(each.version for each in proto.opset_import if each.domain in ("", "ai.onnx"))
    if proto.ir_version < CONSTANT_INITIALIZERS:
        weights = {tensor.name for tensor in proto.graph.initializer}
        _keep(proto.graph.input, [v for v in proto.graph.input if v.name not in weights])
        proto.ir_version = CONSTANT_INITIALIZERS
    large = _without_large_weights(proto.graph)
    try:
        converted = version_converter.convert_version(proto, OLDEST_OPSET)
    except CONVERTER_ERRORS as error:
        reason = str(error).strip().rpartition("\n")[2] or type(error).__name__
        raise ModelError(
            f"{path.name} uses operator set {before}, and onnx cannot convert it to "
            f"{OLDEST_OPSET}, which quantization needs: {reason}",
            where=str(path),
            fix=EXPORT,
        ) from None
    _keep(converted.graph.input, [v for v in converted.graph.input if v.name not in large.borrowed])
    converted.graph.initializer.extend(large.tensors)
    converted.ir_version = max(proto.ir_version, OLDEST_IR)
    model = as_graph(converted, path)
    ir.external_data.set_base_dir(model.graph, str(path.absolute().parent))
    return model


def with_four_bits(model: ir.Model) -> ir.Model:
    """The model in an operator set that has tensors of four bits: itself, or a converted copy.

    Raises:
        ModelError: an operator of the model cannot be translated.
    """
    before = opset_of(model)
    if before < FOUR_BITS_OPSET:
        weights = _parted(model)
        try:
            proto = version_converter.convert_version(
                ir.serde.serialize_model(model), FOUR_BITS_OPSET
            )
        except CONVERTER_ERRORS as error:
            reason = str(error).strip().rpartition("\n")[2] or type(error).__name__
            raise ModelError(
                f"the model uses operator set {before}, and onnx cannot convert it to "
                f"{FOUR_BITS_OPSET}, which 4-bit weights need: {reason}",
                fix=f"use 8 bits, or export the model with operator set {FOUR_BITS_OPSET}",
            ) from None
        domains = dict(model.graph.opset_imports)
        model = ir.serde.deserialize_model(proto)
        model.graph.opset_imports.update({**domains, "": FOUR_BITS_OPSET})
        _joined(model, weights)
        # Axes that were attributes are inputs now, from nodes that would hide them.
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    model.ir_version = max(model.ir_version, FOUR_BITS_IR)
    return model


def _parted(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Take large weights out of a graph and list them among its inputs instead."""
    taken: dict[str, ir.TensorProtocol] = {}
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.size <= FEW_VALUES or value.is_graph_input():
            continue
        del model.graph.initializers[name]
        value.const_value = None
        value.dtype, value.shape = tensor.dtype, ir.Shape(tensor.shape.numpy())
        model.graph.inputs.append(value)
        taken[name] = tensor
    return taken


def _joined(model: ir.Model, weights: dict[str, ir.TensorProtocol]) -> None:
    """Put them back."""
    for value in [each for each in model.graph.inputs if each.name in weights]:
        model.graph.inputs.remove(value)
        value.const_value = weights[value.name or ""]
        model.graph.register_initializer(value)


class _Large:
    """Weights that wait outside while the converter works, and the inputs that stand for them."""

    def __init__(self, tensors: list[onnx.TensorProto], borrowed: set[str]) -> None:
        self.tensors = tensors
        self.borrowed = borrowed


def _without_large_weights(graph: onnx.GraphProto) -> _Large:
    """Take large initializers out of a graph and list them among its inputs instead.

    The converter would copy them, cannot hold 2 GB, and does not keep what is in external data.
    """
    given = {value.name for value in graph.input}
    tensors, borrowed = [], set()
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= FEW_VALUES:
            continue
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        tensors.append(copy)
        if tensor.name not in given:
            borrowed.add(tensor.name)
    names = {tensor.name for tensor in tensors}
    _keep(graph.initializer, [each for each in graph.initializer if each.name not in names])
    for tensor in tensors:
        if tensor.name in borrowed:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return _Large(tensors, borrowed)


def _keep(field: Any, chosen: list[Any]) -> None:
    """Leave only these in a repeated field."""
    kept = []
    for each in chosen:
        copy = type(each)()
        copy.CopyFrom(each)
        kept.append(copy)
    del field[:]
    field.extend(kept)
