"""Weights of 2 to 7 bits as planes of bits, and the few nodes that make int8 codes of them.

A runtime computes what depends on constants alone while it loads: the kernels behind are those of
stored int8 weights, as fast, and the file holds as many bits for a weight as it has. The operators
are as old as operator set 13. While it loads, ONNX Runtime holds `2 * bits + 6` bytes for each
weight of all such layers for a moment.

Codes of b bits are those of two's complement, -2**(b-1) to 2**(b-1) - 1, or `odd` ones, the odd
numbers from 1 - 2**b to 2**b - 1: a grid without a zero, which loses no level to symmetry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.edit import Editor, constant_of, tidy

Codes = NDArray[np.int8]

PER_BYTE = 8
# Bits of a code, axes of a weight, and nodes from planes to codes, at most.
MOST_BITS, MOST_AXES, MOST_STEPS = 7, 8, 8


@dataclass(frozen=True)
class Planes:
    """Stored planes and the codes they are read as.

    Attributes:
        value: the initializer, `[count // 8 rounded up, 1, bits]` uint8.
        bits: of a code.
        odd: whether codes are odd.
        shape: of the codes.
        nodes: those that unpack them, in order.
    """

    value: ir.Value
    bits: int
    odd: bool
    shape: tuple[int, ...]
    nodes: tuple[ir.Node, ...]

    @property
    def constants(self) -> tuple[ir.Value, ...]:
        """What the nodes read beside the planes: numbers that are the same for every weight."""
        read = (value for node in self.nodes for value in node.inputs if value is not self.value)
        return tuple(value for value in read if value is not None and value.const_value is not None)

    @property
    def count(self) -> int:
        """How many codes there are."""
        return math.prod(self.shape)

    def codes(self) -> Codes:
        """The codes in their shape."""
        planes = constant_of(self.value)
        assert planes is not None
        return unpack(planes, self.count, odd=self.odd).reshape(self.shape)


def pack(codes: NDArray[Any], bits: int, *, odd: bool = False) -> NDArray[np.uint8]:
    """Planes `[count // 8 rounded up, 1, bits]` of codes: a byte holds one bit of eight codes.

    Raises:
        ValueError: a code is not of that grid.
    """
    flat = codes.reshape(-1).astype(np.int16)
    if odd and (flat % 2 == 0).any():
        raise ValueError("a code is even")
    flat = (flat - 1) // 2 if odd else flat
    half = 2 ** (bits - 1)
    if flat.size and (flat.min() < -half or flat.max() >= half):
        raise ValueError(f"a code does not fit {bits} bits")
    digits = (flat & (2**bits - 1)).astype(np.uint8)
    planes = [np.packbits((digits >> place) & 1) for place in range(bits)]
    return np.stack(planes, axis=1)[:, None, :]


def unpack(planes: NDArray[np.uint8], count: int, *, odd: bool = False) -> Codes:
    """The first `count` codes, int8, that planes stand for."""
    bits = planes.shape[-1]
    codes = np.zeros(count, np.int16)
    for place, power in enumerate(_powers(bits, odd)):
        codes += np.unpackbits(planes[:, 0, place], count=count) * np.int16(power)
    return (codes + odd).astype(np.int8)


def write_planes(
    editor: Editor, before: ir.Node, codes: NDArray[Any], bits: int, stem: str, *, odd: bool
) -> tuple[Planes, ir.Value]:
    """Store codes as planes and add the nodes in front of `before` that unpack them.

    Constants of the nodes are shared by all layers, and names are short: they would take more room
    than small weights.

    Returns:
        What is stored, and the int8 codes in their shape.
    """
    planes = value = editor.constant(stem, pack(codes, bits, odd=odd))
    nodes = []
    for step in _steps(codes.shape, bits, odd):
        read = [value, *(editor.shared(*constant) for constant in step.constants.items())]
        (value,) = editor.node(before, step.kind, read, stem="b", attributes=step.attributes)
        node = value.producer()
        assert node is not None
        nodes.append(node)
    return Planes(planes, bits, odd, codes.shape, tuple(nodes)), value


def planes_behind(value: ir.Value | None) -> Planes | None:
    """The planes that a value unpacks, or None.

    Every node on the way is compared with the one that is written: what only looks alike computes
    something else, and the sizes in a file may be anything.
    """
    nodes: list[ir.Node] = []
    while value is not None and (node := value.producer()) is not None and node.inputs:
        nodes.insert(0, node)
        value = node.inputs[0]
        if len(nodes) > MOST_STEPS:
            return None
    planes = constant_of(value)
    shape = constant_of(nodes[-1].inputs[1]) if nodes and len(nodes[-1].inputs) == 2 else None
    if value is None or planes is None or planes.dtype != np.uint8 or planes.ndim != 3:
        return None
    if shape is None or not _is_of_a_weight(shape):
        return None
    sizes, bits = tuple(int(size) for size in shape), planes.shape[-1]
    if not 0 < bits <= MOST_BITS or planes.shape != (-(-math.prod(sizes) // PER_BYTE), 1, bits):
        return None
    odd = any(node.op_type == "Add" for node in nodes)
    steps = _steps(sizes, bits, odd)
    if len(steps) != len(nodes) or not all(map(Step.is_done_by, steps, nodes)):
        return None
    return Planes(value, bits, odd, sizes, tuple(nodes))


def _is_of_a_weight(shape: NDArray[Any]) -> bool:
    """Whether a constant can be the shape of a weight."""
    one_row = shape.dtype == np.int64 and shape.ndim == 1 and shape.size <= MOST_AXES
    return one_row and bool((shape > 0).all())


@dataclass(frozen=True)
class Step:
    """A node on the way from planes to codes.

    Attributes:
        kind: of operator.
        constants: what it reads beside what the node before it gives, by name.
        attributes: of the node.
    """

    kind: str
    constants: dict[str, NDArray[Any]]
    attributes: dict[str, Any] = field(default_factory=dict)

    def is_done_by(self, node: ir.Node) -> bool:
        """Whether a node computes this; attributes that are not named here change nothing."""
        if node.op_type != self.kind or node.domain or len(node.inputs) != 1 + len(self.constants):
            return False
        for value, wanted in zip(node.inputs[1:], self.constants.values(), strict=True):
            found = constant_of(value)
            if found is None or found.dtype != wanted.dtype or not np.array_equal(found, wanted):
                return False
        given = {name: attribute.value for name, attribute in node.attributes.items()}
        return all(given.get(name) == wanted for name, wanted in self.attributes.items())


def _steps(shape: tuple[int, ...], bits: int, odd: bool) -> list[Step]:
    """From planes to codes of a shape."""
    # Shifted up, what is left of the wanted bit is gone; shifted down, what is right of it.
    up, down = np.arange(PER_BYTE, dtype=np.uint8)[:, None], np.asarray(PER_BYTE - 1, np.uint8)
    powers = np.asarray(_powers(bits, odd), np.int8)[:, None]
    steps = [
        Step("BitShift", {"bits_up": up}, {"direction": "LEFT"}),
        Step("BitShift", {"bits_down": down}, {"direction": "RIGHT"}),
        Step("MatMulInteger", {f"bits_{bits}{'_odd' * odd}": powers}),
    ]
    if odd:
        steps.append(Step("Add", {"bits_one": np.asarray(1, np.int32)}))
    steps.append(Step("Cast", {}, {"to": int(ir.DataType.INT8)}))
    count = math.prod(shape)
    if count % PER_BYTE:
        # Without the codes that fill the last byte.
        ends = {"bits_first": np.asarray([0]), f"bits_to_{count}": np.asarray([count])}
        steps += [Step("Reshape", {"bits_all": np.asarray([-1])}), Step("Slice", ends)]
    sizes = "x".join(map(str, shape))
    return [*steps, Step("Reshape", {f"bits_{sizes}": np.asarray(shape, np.int64)})]


def planes_in(graph: ir.Graph) -> Iterator[Planes]:
    """All planes that nodes of a graph unpack, in order."""
    for node in graph:
        found = planes_behind(node.outputs[0]) if node.op_type == "Reshape" else None
        if found is not None:
            yield found


def unpack_planes(model: ir.Model) -> dict[ir.Value, int]:
    """Replace planes and the nodes behind them by int8 codes, for whoever reads a graph.

    Codes that the graph returns stay packed.

    Returns:
        The bits that each of the new initializers had.
    """
    editor = Editor(model)
    widths: dict[ir.Value, int] = {}
    for found in list(planes_in(model.graph)):
        unpacked = found.nodes[-1].outputs[0]
        if unpacked.is_graph_output():
            continue
        codes = editor.constant(f"{found.value.name}_codes", found.codes())
        unpacked.replace_all_uses_with(codes)
        widths[codes] = found.bits
    if widths:
        tidy(model)
    return widths


def _powers(bits: int, odd: bool) -> list[int]:
    """What each bit counts, the lowest first; the highest is negative."""
    powers = [2**place << odd for place in range(bits)]
    return [*powers[:-1], -powers[-1]]
