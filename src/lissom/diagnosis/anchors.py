"""The layers of the original, each with the tensors that tell what it computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx_ir.passes import common as passes

from lissom.diagnosis.cut import Network, network_of
from lissom.diagnosis.halves import in_float32
from lissom.graph.batch_norm import fold_batch_norms
from lissom.graph.edit import tidy
from lissom.graph.fold import fold_constants
from lissom.onnx_file import read_onnx
from lissom.targets.fusion import MOVERS

# Layers whose bias may stand in an Add of its own.
LINEAR = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "FusedMatMul"})
# What kernels end with, and quantizers take together with what is before it.
ENDS = frozenset({"Relu", "Clip", "BatchNormalization", "LeakyRelu", "PRelu"})
# Beside what only moves values, these compute no values of their own.
SILENT = MOVERS | {
    "Cast",
    "Dropout",
    "Shape",
    "Size",
    "ConstantOfShape",
    "Range",
    "NonZero",
    "Where",
}
FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE,
        onnx.TensorProto.BFLOAT16,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Anchor:
    """One layer of the original.

    Attributes:
        name: of its node, or of its output where it has none.
        named: whether its node has one.
        op_type: of its node.
        tensors: what it gives, from behind its bias and activation to its bare result.
        weight: the constant it multiplies by, "" where there is none.
        bias: what it adds to its sums, a number or one for each channel; None for nothing.
        low, high: values outside of which its activation gives none.
    """

    name: str
    op_type: str
    tensors: tuple[str, ...]
    weight: str
    bias: NDArray[Any] | None
    low: float | None
    high: float | None
    named: bool = True


def original_network(path: Path) -> Network:
    """The original with constants and batch norms folded, in float32, as quantizers see it.

    Raises:
        ModelError: the file cannot be read.
    """
    model = read_onnx(path)
    if model.functions:
        passes.InlinePass()(model)
    in_float32(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fold_constants(model)
    fold_batch_norms(model)
    tidy(model)
    return network_of(model)


def anchors(network: Network) -> list[Anchor]:
    """Every node of the main graph that computes floats, with its bias and activation, in order."""
    taken: set[int] = set()
    found = []
    for node in network.nodes:
        looks_up = node.op_type == "Gather" and _is_float_constant(network, node.input[0])
        silent = node.op_type in SILENT and not looks_up
        if silent or id(node) in taken or not node.output or not node.output[0]:
            continue
        names, last = [node.output[0]], node
        while (after := _absorbed(network, last, node)) is not None:
            taken.add(id(after))
            names.append(after.output[0])
            last = after
        low, high = _bounds(network, last)
        weights = [
            name for name in network.reads[id(node)] if _is_float_constant(network, name, least=2)
        ]
        weight = weights[0] if weights and node.op_type in (*LINEAR, "Gather") else ""
        name = node.name or names[-1]
        bias = _bias(network, node, names)
        tensors = tuple(reversed(names))
        named = bool(node.name)
        found.append(Anchor(name, node.op_type, tensors, weight, bias, low, high, named))
    return found


def _absorbed(
    network: Network, node: onnx.NodeProto, first: onnx.NodeProto
) -> onnx.NodeProto | None:
    """The bias or activation that a layer ends with, if nothing else reads the layer."""
    name = node.output[0]
    readers = network.readers.get(name, [])
    if len(readers) != 1 or name in network.outputs:
        return None
    reader = readers[0]
    if reader.op_type in ENDS and reader.input[0] == name:
        return reader
    if first.op_type in LINEAR and reader.op_type in ("Add", "Sum") and node is first:
        others = [other for other in reader.input if other != name]
        if len(others) == 1 and others[0] in network.constants:
            return reader
    return None


def _bias(network: Network, node: onnx.NodeProto, names: list[str]) -> NDArray[Any] | None:
    """The constant that a layer adds to its sums, in its own node or the next."""
    given = node.input[2] if len(node.input) > 2 and node.op_type != "Einsum" else ""
    if not given and len(names) > 1:
        after = network.maker[names[1]]
        if after.op_type in ("Add", "Sum"):
            given = next(name for name in after.input if name != names[0])
    if node.op_type not in LINEAR or given not in network.constants:
        return None
    return numpy_helper.to_array(network.constants[given])


def _is_float_constant(network: Network, name: str, least: int = 0) -> bool:
    tensor = network.constants.get(name)
    return tensor is not None and tensor.data_type in FLOATS and len(tensor.dims) >= least


def _bounds(network: Network, node: onnx.NodeProto) -> tuple[float | None, float | None]:
    """The range that a layer's activation keeps its values in."""
    if node.op_type == "Relu":
        return 0.0, None
    if node.op_type != "Clip":
        return None, None
    given: dict[str, float] = {a.name: a.f for a in node.attribute}
    ends = []
    for place, name in enumerate(("min", "max"), start=1):
        end = given.get(name)
        if len(node.input) > place and node.input[place] in network.constants:
            array = numpy_helper.to_array(network.constants[node.input[place]])
            end = float(np.asarray(array).reshape(-1)[0])
        ends.append(end)
    return ends[0], ends[1]
