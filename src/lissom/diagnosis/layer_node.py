"""The operator of a section that multiplies by weights, and what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from lissom.diagnosis.anchors import LINEAR
from lissom.diagnosis.cut import Network, Part
from lissom.diagnosis.reals import Quantizer, Reals

# Between a constant and the operator that computes with it.
FORMS = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class LayerNode:
    """An operator with a constant weight.

    Attributes:
        node: the operator.
        weight: the constant, behind what changes its form.
        data: the other operand.
        result: what the operator gives.
        end: the result with its bias, before any activation.
        entry: the quantizer that the data come through, None where they are floats.
    """

    node: onnx.NodeProto
    weight: str
    data: str
    result: str
    end: str
    entry: Quantizer | None

    @property
    def looks_up(self) -> bool:
        """Whether it takes rows of the weight instead of multiplying by it."""
        return self.node.op_type == "Gather"


def layer_node(part: Part, network: Network, reals: Reals | None = None) -> LayerNode | None:
    """The last operator of a part that multiplies by a constant; else one that looks one up."""
    made = {name for node in part.nodes for name in node.output}
    for kinds in (LINEAR, frozenset({"Gather"})):
        for node in reversed(part.nodes):
            if node.op_type not in kinds:
                continue
            operands = list(node.input[:1] if node.op_type == "Gather" else node.input[:2])
            behind = [constant_behind(name, network) for name in operands]
            weight = next((n for n in behind if n and len(network.constants[n].dims) >= 2), "")
            if not weight:
                continue
            data = node.input[1]
            if node.op_type != "Gather":
                data = operands[1] if behind[0] == weight else operands[0]
            entry = None if reals is None else _entry(data, reals, network, made)
            end = _linear_end(node, network, made, reals)
            return LayerNode(node, weight, data, node.output[0], end, entry)
    return None


def constant_behind(name: str, network: Network) -> str:
    """The constant that a tensor is, behind what changes its form; "" if it is none."""
    while name not in network.constants:
        node = network.maker.get(name)
        if node is None or node.op_type not in FORMS:
            return ""
        name = node.input[0]
    return name


def _entry(data: str, reals: Reals, network: Network, made: set[str]) -> Quantizer | None:
    name = data
    while name in made:
        if name in reals.quantizers:
            return reals.quantizers[name]
        if name in reals.same:
            name = reals.same[name]
            continue
        node = network.maker.get(name)
        if node is None or not node.input:
            return None
        name = node.input[0]
    return None


def _linear_end(node: onnx.NodeProto, network: Network, made: set[str], reals: Reals | None) -> str:
    """Behind the scale and the bias that are applied to a result, and what quantizes between."""
    name: str = node.output[0]
    while True:
        names = {name}
        if reals is not None:
            names |= {n for n in reals.same if reals.root(n) == name and n not in reals.quantizers}
        readers = [
            reader
            for each in names
            for reader in network.readers.get(each, [])
            if reals is None or not set(reader.output) & reals.inside
        ]
        if len(readers) != 1 or readers[0].output[0] not in made:
            return name
        reader = readers[0]
        others = [other for other in reader.input if other not in names]
        kind = reader.op_type
        biased = kind in ("Add", "Sum") and len(others) == 1 and constant_behind(others[0], network)
        scaled = kind == "Mul" and len(others) == 1
        if not (biased or scaled or kind in ("Cast", "BatchNormalization")):
            return name
        name = reader.output[0]
