"""What a model file is before it is fast or slow: bytes, parameters, work, memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx_ir as ir

from lissom.arrays import Array
from lissom.graph.bit_planes import planes_in
from lissom.measurement.macs import multiply_accumulates
from lissom.measurement.memory import peak_memory
from lissom.measurement.records import Footprint
from lissom.model import files_of, read_onnx
from lissom.targets.named import DEFAULT

# Inputs that say how numbers are stored and are no parameters: scales, zero points, group index.
SCALES: dict[str, tuple[int, ...]] = {
    "ConvInteger": (2, 3),
    "DequantizeLinear": (1, 2),
    "DynamicQuantizeMatMul": (2, 3),
    "GatherBlockQuantized": (2, 3),
    "MatMulBnb4": (2,),
    "MatMulInteger": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "MatMulNBits": (2, 3, 4),
    "QAttention": (3, 4, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
}
# Shapes, axes, positions and flags are constants of the graph, not of the network.
NOT_WEIGHTS = {ir.DataType.INT64, ir.DataType.UINT64, ir.DataType.BOOL, ir.DataType.STRING}


def footprint(
    path: Path,
    feeds: Mapping[str, Array],
    *,
    samples: int = 1,
    threads: int = 1,
    runtime: str = DEFAULT,
) -> Footprint:
    """Bytes, parameters, multiply-accumulates of one sample, and peak memory of one run.

    Args:
        path: the model file.
        feeds: the inputs of one run, by name.
        samples: how many samples `feeds` holds.
        threads: threads of the run whose memory is measured.
        runtime: the one it runs in.

    Raises:
        ModelError: the file cannot be read.
        RunError: it cannot be run.
    """
    macs = multiply_accumulates(path, feeds)
    return Footprint(
        bytes=size_on_disk(path),
        parameters=parameters(path),
        macs=None if macs is None else round(macs / samples),
        peak_memory=peak_memory(path, feeds, threads=threads, runtime=runtime),
    )


def size_on_disk(path: Path) -> int:
    """Bytes of the file and of the external data files it points to, each once."""
    return sum(file.stat().st_size for file in files_of(path))


def parameters(path: Path) -> int:
    """Numbers that a file stores as weights, each as one however few bits it takes.

    Counted are the elements of initializers and constants, in branches and functions too, those
    packed below a byte as the weights they stand for (MatMulNBits, MatMulBnb4,
    GatherBlockQuantized, planes of bits). Not counted are scales and zero points, and constants of
    64-bit integers, booleans and text: shapes, axes, positions.
    """
    return sum(parameters_by_tensor(read_onnx(path, check_weights=False)).values())


def parameters_by_tensor(model: ir.Model) -> dict[ir.Value, int]:
    """The same for each stored tensor of an open graph; those that count nothing are left out."""
    packed: dict[ir.Value, int] = {}
    scales: set[ir.Value] = set()
    stored: dict[ir.Value, None] = {}
    for planes in planes_in(model.graph):
        packed[planes.value] = planes.count
        scales.update(planes.constants)
    for node in _nodes(model):
        scales.update(_scales(node))
        packed.update(_packed(node))
        if node.op_type == "Constant" and node.outputs[0].const_value is None:
            _read_constant(node)
        for value in (*node.inputs, *node.outputs):
            if value is not None and value.const_value is not None:
                stored[value] = None
    for graph in model.graphs():
        stored.update(dict.fromkeys(graph.initializers.values()))
    return {
        value: packed.get(value, value.const_value.size)
        for value in stored
        if value not in scales
        and value.const_value is not None
        and value.const_value.dtype not in NOT_WEIGHTS
    }


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def _read_constant(node: ir.Node) -> None:
    """Let a Constant's output know its tensor, as an initializer's value does."""
    tensor = node.attributes.get("value")
    if tensor is not None and isinstance(tensor.value, ir.TensorProtocol):
        node.outputs[0].const_value = tensor.value


def _scales(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs of a node that are scales and zero points."""
    places = SCALES.get(node.op_type, ())
    if node.op_type == "Mul" and any(_is_dynamic_scale(value) for value in node.inputs):
        places = (0, 1)
    for place in places:
        if place < len(node.inputs) and (value := node.inputs[place]) is not None:
            yield value


def _is_dynamic_scale(value: ir.Value | None) -> bool:
    """Whether a value is the scale from DynamicQuantizeLinear, which weights' scales multiply."""
    producer = value.producer() if value is not None else None
    return (
        producer is not None
        and producer.op_type == "DynamicQuantizeLinear"
        and value is producer.outputs[1]
    )


def _packed(node: ir.Node) -> Iterator[tuple[ir.Value, int]]:
    """For weights packed below a byte: the value and how many weights it holds."""
    if node.op_type in ("MatMulNBits", "MatMulBnb4") and (codes := node.inputs[1]) is not None:
        yield codes, node.attributes.get_int("K") * node.attributes.get_int("N")
    if node.op_type == "GatherBlockQuantized" and (data := node.inputs[0]) is not None:
        tensor = data.const_value
        if tensor is not None and tensor.dtype == ir.DataType.UINT8:
            yield data, tensor.size * 8 // node.attributes.get_int("bits", 4)
