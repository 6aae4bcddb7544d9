"""The tensors of a model file, and the zeroth-order entropy (Shannon 1948) that bounds its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lissom.storage import rans
from lissom.storage.coding import planes, records
from lissom.storage.containers.ranges import TensorRange
from lissom.storage.containers.source import FileSource
from lissom.storage.containers.survey import survey
from lissom.storage.frequencies import entropy_bits

Tensors = list[tuple[TensorRange, np.ndarray]]
FLOATS = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}
FLOATS |= {f"GGUF:{name}": width for name, width in FLOATS.items()}


def tensors_of(path: Path) -> Tensors:
    """Every tensor of a file that has bytes, each range once, and its bytes."""
    (member,) = survey(path).members
    unique = {(each.offset, each.length): each for each in member.tensors if each.length}
    with FileSource(path) as source:
        return [
            (each, np.frombuffer(source.read(each.offset, each.length), np.uint8))
            for each in unique.values()
        ]


def fields(tensor: TensorRange, data: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """A tensor as arrays of bytes, each with the bytes of one of its floats, or 1."""
    if tensor.dtype in FLOATS:
        return [(data, FLOATS[tensor.dtype])]
    if tensor.dtype not in records.FIELDS:
        return [(data, 1)]
    blocks = data.reshape(-1, records.block_size(tensor.dtype))
    fields, at = [], 0
    for size, half in records.FIELDS[tensor.dtype]:
        part = np.ascontiguousarray(blocks[:, at : at + size]).reshape(-1)
        fields.append((part, 2 if half else 1))
        at += size
    return fields


def entropy(tensor: TensorRange, data: np.ndarray) -> float:
    """A tensor's zeroth-order entropy in bytes, of floats that of each byte of exponent, mantissa
    and sign on its own."""
    bits = 0.0
    for part, width in fields(tensor, data):
        split = [part] if width == 1 or part.size % width else planes.split(part, width, True)
        bits += sum(entropy_bits(rans.count(plane)) for plane in split)
    return bits / 8


def bound(path: Path, tensors: Tensors) -> float:
    """That of a file's tensors and of what is between them, in bytes."""
    total, rest = 0.0, bytearray()
    whole, at = path.read_bytes(), 0
    for tensor, data in sorted(tensors, key=lambda each: each[0].offset):
        rest += whole[at : tensor.offset]
        at = tensor.offset + tensor.length
        total += entropy(tensor, data)
    rest += whole[at:]
    return total + entropy_bits(rans.count(np.frombuffer(rest, np.uint8))) / 8
