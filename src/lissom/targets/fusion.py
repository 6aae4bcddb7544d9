"""What ONNX Runtime made of each node: its optimized graph, written out and read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import onnx_ir as ir
from onnx import TensorProto
from onnx_ir.passes.common import InlinePass

from lissom.graph.bit_planes import planes_in
from lissom.onnx_file import read_onnx
from lissom.targets.fallback import Reason, why_float
from lissom.targets.optimized import optimized
from lissom.targets.saturation import Saturating, saturating_in

# "integer": computes with codes. "codes": only moves them. "float": neither. "conversion": between
# the two. "gone": computed once while loading, or dropped.
Kind = Literal["integer", "codes", "float", "conversion", "gone"]

CODES = frozenset(
    {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16}
    | {TensorProto.INT4, TensorProto.UINT4}
)
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
# Integer kernels whose name does not begin with QLinear.
INTEGER = frozenset(
    {
        "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "GatherBlockQuantized",
        "MatMulInteger", "MatMulInteger16", "MatMulIntegerToFloat", "MatMulNBits", "QAttention",
        "QEmbedLayerNormalization", "QGemm", "QMoE",
    }
)  # fmt: skip
GEMMS = frozenset({"Gemm", "FusedGemm", "QGemm"})
# Operators that compute nothing: where they stand over codes, they move codes.
MOVERS = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad",
        "ReduceMax", "ReduceMin", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze",
        "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
# The accuracy level at which MatMulNBits multiplies in int8; below it turns weights into floats.
INTEGER_LEVEL = 4


@dataclass(frozen=True)
class Fate:
    """What became of one node of the file.

    Attributes:
        name: the node's name, or that of its first output where it has none.
        op_type: its operator.
        output: its first output.
        kind: how it runs.
        kernel: the operator that runs in its place; empty where none does.
        reason: why it runs in float and how to mend that; None where nothing was expected.
    """

    name: str
    op_type: str
    output: str
    kind: Kind
    kernel: str
    reason: Reason | None = None


@dataclass(frozen=True)
class Conversion:
    """One conversion that really runs: its operator, the tensor it reads, and the edge it is on."""

    op_type: str
    tensor: str
    edge: str
    constant: bool


@dataclass(frozen=True)
class ReadBack:
    """The fates of all nodes of a file in graph order, and the conversions left between them.

    `saturating` are the layers that would add wrongly where products are added in 16 bits.
    """

    fates: tuple[Fate, ...]
    conversions: tuple[Conversion, ...]
    saturating: tuple[Saturating, ...]


def read_back(path: Path | str) -> ReadBack:
    """Let ONNX Runtime optimize a file for this CPU and tell what became of every node.

    Bodies of branches and loops are not looked into, and nodes that unpack weights while the
    runtime loads are none that run.

    Raises:
        ModelError: the file is no ONNX model, or the runtime refuses it.
        FolderError: there is no room for the optimized graph in the temporary folder.
    """
    path = Path(path)
    model = read_onnx(path, check_weights=False)
    if model.functions:
        model = InlinePass()(model).model
    with optimized(path) as file:
        # Without the weights: nobody reads them for this.
        graph = _Optimized(onnx.load(file, load_external_data=False).graph)
        layers = saturating_in(file)
    unpacking = {node for planes in planes_in(model.graph) for node in planes.nodes}
    fates = tuple(
        _fate(node, graph)
        for node in model.graph
        if node.op_type != "Constant" and node not in unpacking
    )
    return ReadBack(fates, tuple(graph.conversions()), layers)


class _Optimized:
    """The optimized graph by names: who makes a value, who reads it, which values are codes."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self.by_name: dict[str, onnx.NodeProto] = {
            node.name: node for node in self.nodes if node.name
        }
        self.maker: dict[str, onnx.NodeProto] = {
            value: node for node in self.nodes for value in node.output if value
        }
        self.constants = {tensor.name for tensor in graph.initializer}
        self.codes = {t.name for t in graph.initializer if t.data_type in CODES} | {
            value.name for value in graph.input if value.type.tensor_type.elem_type in CODES
        }
        # Kept in the order in which they run: makers come before readers.
        for node in self.nodes:
            self.codes.update(_code_outputs(node, self.codes))

    def kind(self, node: onnx.NodeProto) -> Kind:
        """How a node of the optimized graph runs."""
        if node.op_type in CONVERSIONS:
            return "conversion"
        if node.op_type == "MatMulNBits":
            return "integer" if _accuracy_level(node) == INTEGER_LEVEL else "float"
        if node.op_type in INTEGER or node.op_type.startswith("QLinear"):
            return "integer"
        if node.op_type in MOVERS and any(value in self.codes for value in node.input[:1]):
            return "codes"
        return "float"

    def behind_reshape(self, node: ir.Node, made: onnx.NodeProto) -> onnx.NodeProto:
        """The kernel itself, where a product of more than two axes became a Gemm and a Reshape."""
        if made.op_type == "Reshape" and node.op_type != "Reshape":
            before = self.maker.get(made.input[0])
            if before is not None and before.op_type in GEMMS:
                return before
        return made

    def conversions(self) -> Iterator[Conversion]:
        readers: dict[str, list[str]] = {}
        for node in self.nodes:
            for value in node.input:
                readers.setdefault(value, []).append(node.op_type)
        for node in self.nodes:
            if node.op_type not in CONVERSIONS:
                continue
            source = node.input[0]
            constant = source in self.constants
            maker = self.maker.get(source)
            start = "weights" if constant else maker.op_type if maker else "graph input"
            ends = sorted(set(readers.get(node.output[0], ()))) or ["graph output"]
            yield Conversion(node.op_type, source, f"{start} -> {', '.join(ends)}", constant)


def _accuracy_level(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "accuracy_level"), 0)


def _code_outputs(node: onnx.NodeProto, codes: set[str]) -> list[str]:
    """Which outputs of a node are codes."""
    kind = node.op_type
    if kind in ("QuantizeLinear", "DynamicQuantizeLinear") or kind.startswith("QLinear"):
        return list(node.output[:1])
    if kind == "QGemm":
        # With the scale of its result it gives codes, without it floats.
        return list(node.output) if len(node.input) > 7 and node.input[7] else []
    if kind in MOVERS and node.input and node.input[0] in codes:
        return list(node.output)
    return []


def _fate(node: ir.Node, graph: _Optimized) -> Fate:
    runs = _running(node, graph)
    name = node.name or node.outputs[0].name or ""
    output = node.outputs[0].name or ""
    if runs is None:
        return Fate(name, node.op_type, output, "gone", "")
    kind = graph.kind(runs)
    if node.op_type in CONVERSIONS and kind != "conversion":
        kind = "gone"
    reason = why_float(node, runs.op_type) if kind == "float" else None
    return Fate(name, node.op_type, output, kind, runs.op_type, reason)


def _running(node: ir.Node, graph: _Optimized) -> onnx.NodeProto | None:
    """The optimized node that does the work of a node, or None.

    The one that gives the same tensor; or has the same name, as fused kernels keep it; or gives
    the nearest tensor behind, into whose kernel the node went.
    """
    for value in node.outputs:
        if value.name in graph.maker:
            return graph.behind_reshape(node, graph.maker[value.name])
    if node.name in graph.by_name:
        return graph.by_name[node.name]
    if all(value is None or value.is_initializer() for value in node.inputs):
        return None
    seen: dict[ir.Node, None] = {node: None}
    waiting = [node]
    for each in waiting:
        for value in each.outputs:
            for reader, _ in value.uses():
                for behind in reader.outputs:
                    if behind.name in graph.maker:
                        return graph.behind_reshape(node, graph.maker[behind.name])
                if reader not in seen:
                    seen[reader] = None
                    waiting.append(reader)
    return None
