"""Weights of 2 to 7 bits as planes of bits, and the few nodes that make int8 codes of them.

A runtime computes what depends on constants alone while it loads: the kernels behind are those of
stored int8 weights, as fast, and the file holds as many bits for a weight as it has. The operators
are as old as operator set 13. While it loads, ONNX Runtime holds `2 * bits + 6` bytes for each
weight of all such layers for a moment.

Codes of b bits are those of two's complement, -2**(b-1) to 2**(b-1) - 1, or `odd` ones, the odd
numbers from 1 - 2**b to 2**b - 1: a grid without a zero, which loses no level to symmetry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.edit import Editor, constant_of, tidy

Codes = NDArray[np.int8]

PER_BYTE = 8
LEFT, RIGHT = {"direction": "LEFT"}, {"direction": "RIGHT"}


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
        return int(np.prod(self.shape))

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
    planes = editor.constant(stem, pack(codes, bits, odd=odd))
    # Shifted up, what is left of the wanted bit is gone; shifted down, what is right of it.
    up = np.arange(PER_BYTE, dtype=np.uint8)[:, None]
    digits = _node(editor, before, "BitShift", planes, editor.shared("bits_up", up), LEFT)
    down = editor.shared("bits_down", np.asarray(PER_BYTE - 1, np.uint8))
    digits = _node(editor, before, "BitShift", digits, down, RIGHT)
    powers = np.asarray(_powers(bits, odd), np.int8)[:, None]
    name = f"bits_{bits}{'_odd' * odd}"
    wide = _node(editor, before, "MatMulInteger", digits, editor.shared(name, powers))
    if odd:
        one = editor.shared("bits_one", np.asarray(1, np.int32))
        wide = _node(editor, before, "Add", wide, one)
    narrow = _node(editor, before, "Cast", wide, None, {"to": int(ir.DataType.INT8)})
    if codes.size % PER_BYTE:
        whole = editor.shared("bits_all", np.asarray([-1]))
        narrow = _node(editor, before, "Reshape", narrow, whole)
        narrow = _first(editor, before, narrow, codes.size)
    sizes = "x".join(map(str, codes.shape))
    shape = editor.shared(f"bits_{sizes}", np.asarray(codes.shape, np.int64))
    found = _node(editor, before, "Reshape", narrow, shape)
    there = planes_behind(found)
    assert there is not None
    return there, found


def planes_behind(value: ir.Value | None) -> Planes | None:
    """The planes that a value unpacks, or None."""
    node = _maker(value, "Reshape")
    shape = constant_of(node.inputs[1]) if node is not None else None
    if node is None or shape is None:
        return None
    source, flat = node.inputs[0], None
    if (cut := _maker(source, "Slice")) is not None:
        flat = _maker(cut.inputs[0], "Reshape")
        source = flat.inputs[0] if flat is not None else None
    narrow = _maker(source, "Cast")
    wide = narrow.inputs[0] if narrow is not None else None
    shifted = _maker(wide, "Add")
    product = _maker(wide if shifted is None else shifted.inputs[0], "MatMulInteger")
    down = _maker(product.inputs[0], "BitShift") if product is not None else None
    up = _maker(down.inputs[0], "BitShift") if down is not None else None
    planes = up.inputs[0] if up is not None else None
    stored = constant_of(planes)
    if product is None or planes is None or stored is None:
        return None
    chain = (node, cut, flat, narrow, shifted, product, down, up)
    powers, odd = constant_of(product.inputs[1]), shifted is not None
    sizes = tuple(int(size) for size in shape)
    nodes = tuple(reversed([each for each in chain if each is not None]))
    found = Planes(planes, stored.shape[-1] if stored.ndim else 0, odd, sizes, nodes)
    expected = (-(-found.count // PER_BYTE), 1, found.bits)
    if stored.dtype != np.uint8 or stored.shape != expected or powers is None:
        return None
    return found if powers.reshape(-1).tolist() == _powers(found.bits, odd) else None


def _maker(value: ir.Value | None, kind: str) -> ir.Node | None:
    """The node that gives a value, if it is of that kind."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == kind and not node.domain else None


def planes_in(graph: ir.Graph) -> Iterator[Planes]:
    """All planes that nodes of a graph unpack, in order."""
    for node in graph:
        found = planes_behind(node.outputs[0]) if node.op_type == "Reshape" else None
        if found is not None:
            yield found


def unpack_planes(model: ir.Model) -> dict[ir.Value, int]:
    """Replace planes and the nodes behind them by int8 codes, for whoever reads a graph.

    Returns:
        The bits that each of the new initializers had.
    """
    editor = Editor(model)
    widths: dict[ir.Value, int] = {}
    for found in list(planes_in(model.graph)):
        codes = editor.constant(f"{found.value.name}_codes", found.codes())
        found.nodes[-1].outputs[0].replace_all_uses_with(codes)
        widths[codes] = found.bits
    if widths:
        tidy(model)
    return widths


def _powers(bits: int, odd: bool) -> list[int]:
    """What each bit counts, the lowest first; the highest is negative."""
    powers = [2**place << odd for place in range(bits)]
    return [*powers[:-1], -powers[-1]]


def _node(
    editor: Editor,
    before: ir.Node,
    kind: str,
    source: ir.Value,
    other: ir.Value | None,
    attributes: dict[str, Any] | None = None,
) -> ir.Value:
    inputs = [source] if other is None else [source, other]
    (value,) = editor.node(before, kind, inputs, stem="b", attributes=attributes)
    return value


def _first(editor: Editor, before: ir.Node, value: ir.Value, count: int) -> ir.Value:
    """Without the codes that fill the last byte."""
    start = editor.shared("bits_first", np.asarray([0]))
    end = editor.shared(f"bits_to_{count}", np.asarray([count]))
    (found,) = editor.node(before, "Slice", [value, start, end], stem="b")
    return found
