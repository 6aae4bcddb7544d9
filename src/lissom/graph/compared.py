"""Where two networks that compute the same can be compared: floats, as many in one as the other."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

# How long what these give is depends on the numbers they read.
COUNTING = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
# What these give is as long as these inputs of them say.
LENGTHS = {
    "ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1,), "Range": (0, 1, 2),
    "Reshape": (1,), "Resize": (2, 3), "Slice": (1, 2, 4), "Tile": (1,), "TopK": (1,),
}  # fmt: skip
# They write into their first input, and give as much as that holds.
SCATTERING = frozenset({"Scatter", "ScatterElements", "ScatterND"})
# They read how long a tensor is and none of its numbers.
MEASURING = frozenset({"Shape", "Size"})
# They give numbers or truth values whatever they read.
LABELLING = frozenset(
    {
        "And", "ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less",
        "LessOrEqual", "NonMaxSuppression", "NonZero", "Not", "Or", "QuantizeLinear", "Shape",
        "Size", "Xor",
    }
)  # fmt: skip
# Operators whose results have the type of another input than the first.
TYPED_BY = {"DequantizeLinear": 1, "OneHot": 2, "Where": 1}
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


def compared(model: ir.Model) -> list[str]:
    """The tensors at which the model's error is measured once its weights are changed.

    Its outputs, but those that are labels, and those whose size depends on what was computed, as
    of boxes that are found. Where there are no others, the tensors these are made of: what an
    ArgMax chooses from, the boxes and scores that are chosen among.

    Args:
        model: its nodes in order.

    Returns:
        Names, none where there is no such tensor.
    """
    computed, varying = _reach(model.graph)
    free = {size for value in model.graph.inputs for size in _sizes(value)}

    def fits(value: ir.Value) -> bool:
        # What the file says of its outputs, the exporter knew.
        sized = value not in varying or (
            value.is_graph_output()
            and value.shape is not None
            and all(isinstance(size, int) or size in free - {None} for size in _sizes(value))
        )
        return value.producer() is not None and sized and _is_float(value)

    found = [value for value in model.graph.outputs if fits(value)]
    waiting = [] if found else [*reversed(model.graph.outputs)]
    seen: set[ir.Value] = set()
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if node is None or value in seen:
            continue
        seen.add(value)
        if value in computed and fits(value):
            found.append(value)
        elif node.op_type not in MEASURING:
            waiting += [each for each in reversed(node.inputs) if each is not None]
    return list(dict.fromkeys(value.name for value in found if value.name))


def _reach(graph: ir.Graph) -> tuple[set[ir.Value], set[ir.Value]]:
    """Values that depend on weights, and those of them whose sizes do."""
    computed: set[ir.Value] = set()
    varying: set[ir.Value] = set()
    for node in graph:
        read = [value for value in node.inputs if value is not None]
        if node.op_type in MEASURING:
            # A size that depends on weights is one of the numbers that others depend on.
            if any(value in varying for value in read):
                computed.update(node.outputs)
            continue
        if any(value in computed or _is_weight(value) for value in read):
            computed.update(node.outputs)
        told = node.inputs[:1] if node.op_type in SCATTERING else read
        counts = node.op_type in COUNTING and any(value in computed for value in read)
        if counts or any(each in computed for each in _lengths(node)) or varying & {*told}:
            varying.update(node.outputs)
    return computed, varying


def _lengths(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs that say how long a node's results are."""
    for place in LENGTHS.get(node.op_type, ()):
        value = node.inputs[place] if place < len(node.inputs) else None
        if value is not None:
            yield value


def _is_weight(value: ir.Value) -> bool:
    """Whether a constant is what compression changes: a matrix at least."""
    tensor = value.const_value
    return value.is_initializer() and tensor is not None and len(tensor.shape) > 1


def _sizes(value: ir.Value) -> list[int | str | None]:
    """A size for each axis: a number, the name of one that is free, or None."""
    return [size.value if isinstance(size, ir.SymbolicDim) else size for size in value.shape or ()]


def _is_float(value: ir.Value) -> bool:
    """By the type that is declared, or what the operators that made it do to types."""
    while value.dtype is None:
        node = value.producer()
        if node is None or node.op_type in LABELLING:
            return False
        if node.op_type == "Cast":
            return ir.DataType(node.attributes["to"].as_int()) in FLOATS
        if node.op_type in ("TopK", "Unique") and value is not node.outputs[0]:
            return False
        place = TYPED_BY.get(node.op_type, 0)
        source = node.inputs[place] if place < len(node.inputs) else None
        if source is None:
            return False
        value = source
    return value.dtype in FLOATS
