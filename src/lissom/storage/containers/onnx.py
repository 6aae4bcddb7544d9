"""Tensors of an ONNX file: raw data inside it, and data in files beside it.

Source: onnx/onnx, onnx/onnx.proto, for the numbers of the fields.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from lissom.storage.containers import protobuf
from lissom.storage.containers.protobuf import BYTES, VARINT, Field
from lissom.storage.containers.ranges import NotThisFormat, TensorRange
from lissom.storage.containers.source import Source, Window

# TensorProto.DataType, by its number.
DTYPES = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16",
    11: "F64", 12: "U32", 13: "U64", 14: "C64", 15: "C128", 16: "BF16", 17: "F8_E4M3",
    18: "F8_E4M3FNUZ", 19: "F8_E5M2", 20: "F8_E5M2FNUZ", 21: "U4", 22: "I4", 23: "F4",
    24: "F8_E8M0", 25: "U2", 26: "I2",
}  # fmt: skip
BITS = {
    "F32": 32, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "I32": 32, "I64": 64, "BOOL": 8, "F16": 16,
    "F64": 64, "U32": 32, "U64": 64, "C64": 64, "C128": 128, "BF16": 16, "F8_E4M3": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2": 8, "F8_E5M2FNUZ": 8, "U4": 4, "I4": 4, "F4": 4, "F8_E8M0": 8,
    "U2": 2, "I2": 2,
}  # fmt: skip
EXTERNAL = 1
LONGEST_TEXT = 1 << 16
MOST_DIMENSIONS = 64
DEEPEST = 32


@dataclass(frozen=True)
class Tensor:
    """A TensorProto: its message is at [start, end); `data` is the range of its values.

    Attributes:
        head: where the tag before the message begins.
        kind: the number of its type.
        data: the range of its raw data, or of packed floats; None where the values are elsewhere.
        data_head: where the tag of that field begins.
        location: the file beside the model that holds them, or None.
        stretch: offset and length in that file; a length of None is what type and shape take.
        top: it is an initializer of the outermost graph.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    head: int
    start: int
    end: int
    data: tuple[int, int] | None = None
    data_head: int = 0
    location: str | None = None
    stretch: tuple[int, int | None] = (0, None)
    top: bool = False

    @property
    def dtype(self) -> str:
        return DTYPES.get(self.kind, "BYTES")

    @property
    def nbytes(self) -> int | None:
        """Bytes that type and shape take; None for a type of no fixed size."""
        bits = BITS.get(self.dtype)
        return None if bits is None else -(-math.prod(self.shape) * bits // 8)


def graph(source: Source) -> Field:
    """The field of the model that holds the outermost graph.

    Raises:
        NotThisFormat: the file is no ONNX model.
    """
    version, found = False, None
    for each in protobuf.fields(Window(source), 0, source.size):
        version |= each.number == 1 and each.wire == VARINT
        if each.number == 7 and each.wire == BYTES:
            if found is not None:
                raise NotThisFormat("two graphs")
            found = each
    if found is None or not version:
        raise NotThisFormat("no version, or no graph")
    return found


def all_tensors(source: Source) -> Iterator[Tensor]:
    """Every tensor of a model: initializers and attributes, of graphs in graphs and functions too.

    Raises:
        NotThisFormat: the file is no ONNX model.
    """
    top = graph(source)
    window = Window(source)
    yield from _Walk(window, top=True).graph(top, 0)
    inner = _Walk(window)
    for each in protobuf.fields(window, 0, source.size):
        if each.wire != BYTES:
            continue
        if each.number == 25:  # FunctionProto: nodes
            for node in protobuf.fields(window, each.start, each.end):
                if node.number == 7 and node.wire == BYTES:
                    yield from inner.node(node, 1)
        elif each.number == 20:  # TrainingInfoProto: two graphs
            for part in protobuf.fields(window, each.start, each.end):
                if part.number in (1, 2) and part.wire == BYTES:
                    yield from inner.graph(part, 1)


def initializers(source: Source) -> Iterator[Tensor]:
    """The initializers of the outermost graph alone: nodes are not looked into.

    Raises:
        NotThisFormat: the file is no ONNX model.
    """
    yield from _Walk(Window(source), top=True).graph(graph(source), 0, nodes=False)


def inline_range(tensor: Tensor) -> TensorRange | None:
    """Where a tensor's values are in the model's own file, or None if they are not there."""
    if tensor.data is None:
        return None
    start, end = tensor.data
    return TensorRange(tensor.name, tensor.dtype, tensor.shape, start, end - start)


def external_range(tensor: Tensor) -> TensorRange | None:
    """Where a tensor's values are in its external file, or None if it has none."""
    if tensor.location is None:
        return None
    offset, length = tensor.stretch
    length = tensor.nbytes if length is None else length
    if length is None:
        return None
    return TensorRange(tensor.name, tensor.dtype, tensor.shape, offset, length)


@dataclass
class _Walk:
    window: Window
    top: bool = False
    limit: int = field(default=DEEPEST)

    def graph(self, place: Field, depth: int, *, nodes: bool = True) -> Iterator[Tensor]:
        if depth > self.limit:
            raise NotThisFormat("graphs in graphs without end")
        for each in protobuf.fields(self.window, place.start, place.end):
            if each.wire != BYTES:
                continue
            if each.number == 5:
                yield self.tensor(each, "", top=self.top and depth == 0)
            elif each.number == 15:
                yield from self.sparse(each, "sparse")
            elif each.number == 1 and nodes:
                yield from self.node(each, depth)

    def node(self, place: Field, depth: int) -> Iterator[Tensor]:
        name = output = ""
        attributes = []
        for each in protobuf.fields(self.window, place.start, place.end):
            if each.wire != BYTES:
                continue
            if each.number == 3:
                name = self.text(each)
            elif each.number == 2 and not output:
                output = self.text(each)
            elif each.number == 5:
                attributes.append(each)
        for attribute in attributes:
            yield from self.attribute(attribute, name or output, depth)

    def attribute(self, place: Field, node: str, depth: int) -> Iterator[Tensor]:
        inner = []
        name = ""
        for each in protobuf.fields(self.window, place.start, place.end):
            if each.wire != BYTES:
                continue
            if each.number == 1:
                name = self.text(each)
            elif each.number in (5, 6, 10, 11, 22, 23):
                inner.append(each)
        for each in inner:
            if each.number in (5, 10):
                yield self.tensor(each, f"{node}.{name}")
            elif each.number in (6, 11):
                yield from self.graph(each, depth + 1)
            else:
                yield from self.sparse(each, f"{node}.{name}")

    def sparse(self, place: Field, otherwise: str) -> Iterator[Tensor]:
        for each in protobuf.fields(self.window, place.start, place.end):
            if each.wire == BYTES and each.number in (1, 2):
                part = "values" if each.number == 1 else "indices"
                yield self.tensor(each, f"{otherwise}.{part}")

    def tensor(self, place: Field, otherwise: str, *, top: bool = False) -> Tensor:
        """A TensorProto; `otherwise` names it if it has no name of its own."""
        name, kind, location = "", 0, 0
        shape: list[int] = []
        data: tuple[int, int] | None = None
        data_head = stored_otherwise = 0
        pairs: dict[str, str] = {}
        for each in protobuf.fields(self.window, place.start, place.end):
            if each.number == 1:
                shape += self.numbers(each)
            elif each.number == 2:
                kind = each.value
            elif each.number == 8 and each.wire == BYTES:
                name = self.text(each)
            elif each.number == 9 and each.wire == BYTES:
                data, data_head = (each.start, each.end), each.head
            elif each.number == 4 and each.wire == BYTES and data is None:
                # Packed floats have the bytes of raw data; if there are several, none is whole.
                stored_otherwise += 1
                data, data_head = (each.start, each.end), each.head
            elif each.number == 4:
                stored_otherwise += 2
            elif each.number == 13 and each.wire == BYTES:
                key, value = self.pair(each)
                pairs[key] = value
            elif each.number == 14:
                location = each.value
        if stored_otherwise > 1 or (stored_otherwise and kind != 1):
            data = None
        where = pairs.get("location") if location == EXTERNAL else None
        return Tensor(
            name or otherwise, kind, tuple(shape), place.head, place.start, place.end, data,
            data_head, where, _stretch(pairs), top,
        )  # fmt: skip

    def numbers(self, place: Field) -> list[int]:
        """A repeated number: one of them, or several packed."""
        if place.wire == VARINT:
            found = [place.value]
        else:
            data, at, found = self.window.look(place.start, place.end - place.start), 0, []
            if len(data) > MOST_DIMENSIONS * 10:
                raise NotThisFormat("too many dimensions")
            while at < len(data):
                value, at = protobuf.varint(data, at)
                found.append(value)
        if any(value >> 63 for value in found):
            raise NotThisFormat("a negative dimension")
        return found

    def text(self, place: Field) -> str:
        if place.end - place.start > LONGEST_TEXT:
            raise NotThisFormat("a name that is too long")
        try:
            return self.window.look(place.start, place.end - place.start).decode()
        except UnicodeDecodeError:
            raise NotThisFormat("a name that is no text") from None

    def pair(self, place: Field) -> tuple[str, str]:
        key = value = ""
        for each in protobuf.fields(self.window, place.start, place.end):
            if each.number == 1 and each.wire == BYTES:
                key = self.text(each)
            elif each.number == 2 and each.wire == BYTES:
                value = self.text(each)
        return key, value


def _stretch(pairs: dict[str, str]) -> tuple[int, int | None]:
    """Offset and length of external data; text that is no number counts as not given."""

    def number(key: str) -> int | None:
        text = pairs.get(key, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    return number("offset") or 0, number("length")
