"""What a model holds, in bytes by the kind of layer that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from lissom.graph.inventory import bytes_in_bodies, inventory
from lissom.graph.quantized import Quantized, quantized
from lissom.graph.weights import embeddings, linear_weights
from lissom.quantize.float16 import Float16, fits_float16
from lissom.quantize.placement import place

CLASSIC = "ai.onnx.ml"
# Such an operator with fewer numbers only prepares what others take.
LEARNT = 16


@dataclass(frozen=True)
class Weights:
    """Bytes of float32 weights by the kind of layer that reads them.

    Attributes:
        linear: constant matrices of MatMul and Gemm.
        tables: embedding tables.
        convolutions: kernels of Conv.
        floats: all float32 weights, whatever reads them.
        total: everything in the graph, whatever its type.
        vectors: those of the float32 weights that have fewer than two axes.
        halves: those of the float32 weights that float16 storage would take.
        bodies: float weights in the bodies of operators, by the operator's type; in none of those
            above, since no technique takes them.
        quantized: what is quantized already.
        classic: operators whose learnt numbers are attributes: trees, scikit-learn's linear models.
    """

    linear: int
    tables: int
    convolutions: int
    floats: int
    total: int
    vectors: int = 0
    halves: int = 0
    bodies: Mapping[str, int] = field(default_factory=dict)
    quantized: tuple[Quantized, ...] = ()
    classic: tuple[str, ...] = ()

    @property
    def quantizable(self) -> int:
        """What some technique below float16 may take."""
        return self.linear + self.tables + self.convolutions


def weights_of(model: ir.Model) -> Weights:
    """Count the weights of a graph, each once however many layers share it."""
    graph = model.graph
    linear = {layer.value for layer in linear_weights(graph)}
    tables = {node.inputs[0] for node in embeddings(graph) if node.inputs[0] is not None}
    kernels = {n.inputs[1] for n in place(graph).layers if n.op_type == "Conv" and n.inputs[1]}
    every = set(graph.initializers.values())
    floats = {value for value in every if value.dtype == ir.DataType.FLOAT}
    halves = {value for value in floats if fits_float16(value, Float16())}
    return Weights(
        linear=_bytes(linear),
        tables=_bytes(tables),
        convolutions=_bytes(kernels),
        floats=_bytes(floats),
        total=_bytes(every),
        vectors=_bytes({value for value in floats if len(value.shape or ()) < 2}),
        halves=_bytes(halves),
        bodies=bytes_in_bodies(model),
        quantized=quantized(inventory(model)),
        classic=tuple(sorted({node.op_type for node in graph if _has_learnt(node)})),
    )


def _has_learnt(node: ir.Node) -> bool:
    attributes = node.attributes.values() if node.domain == CLASSIC else ()
    floats = (each.value for each in attributes if each.type == ir.AttributeType.FLOATS)
    return any(len(numbers) >= LEARNT for numbers in floats)


def _bytes(values: set[ir.Value]) -> int:
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)
