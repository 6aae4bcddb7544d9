"""What is around each layer in the float graph, before quantization changes the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lissom.graph.edit import only_consumer
from lissom.graph.weights import is_float_constant
from lissom.quantize.layer_rows import Window

SUMS = ("Add", "Sum")


@dataclass(frozen=True)
class Traced:
    """One layer.

    Attributes:
        node: the layer, which stays the same node when it becomes integer.
        source: the name of what it reads in the float graph.
        output: the name of what it gives there.
        window: what it reads at once.
        bias: the sum behind it that adds a vector of constants, and the place of the vector; None
            where there is none.
    """

    node: ir.Node
    source: str
    output: str
    window: Window
    bias: tuple[ir.Node, int] | None

    @property
    def called(self) -> str:
        """What a user knows the layer by."""
        return self.node.name or self.output


def traced(layers: Sequence[ir.Node]) -> list[Traced]:
    """What is around each layer."""
    found = []
    for node in layers:
        source, value = node.inputs[0], node.outputs[0]
        assert source is not None
        found.append(
            Traced(node, source.name or "", value.name or "", Window.of(node), _bias(value))
        )
    return found


def _bias(value: ir.Value) -> tuple[ir.Node, int] | None:
    """The sum of two that alone reads a value, where the other operand is a vector of constants."""
    reader = only_consumer(value)
    if reader is None or reader.op_type not in SUMS or reader.domain or len(reader.inputs) != 2:
        return None
    place = 1 if reader.inputs[0] is value else 0
    return (reader, place) if is_float_constant(reader.inputs[place], 1) else None
