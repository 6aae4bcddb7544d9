"""Elements of several bytes as planes of one byte each, the highest byte first.

A float is rotated left by one bit before, so that its first plane is the exponent (of float16:
with three bits of the mantissa) and its sign comes last. Trained weights use few exponents, and
unevenly; their mantissas are all but uniform (DFloat11, arXiv:2504.11651; ZipNN,
arXiv:2411.05239).
"""

from __future__ import annotations

import numpy as np

from lissom.storage import kernel
from lissom.storage.bits import Cursor
from lissom.storage.coding import symbols
from lissom.storage.coding.node import Bytes, Read, Tag, child, demand

WIDTHS = (2, 4, 8)


def encode(data: Bytes, width: int, rotate: bool, columns: int = 0, lz: bool = True) -> bytes:
    """Each plane in its own coding; the second may use the first as its context."""
    lz = lz and not rotate
    planes = split(data, width, rotate)
    beside = data.size - planes[0].size
    coded = [symbols.encode(planes[0], columns, lz=lz, beside=beside)]
    coded.append(symbols.encode(planes[1], 0, planes[0], lz=lz, beside=beside))
    coded += [symbols.encode(plane, 0, lz=lz, beside=beside) for plane in planes[2:]]
    return b"".join([bytes([Tag.PLANES, width, rotate]), *coded])


def decode(cursor: Cursor, out: Bytes, side: Bytes | None, read: Read) -> None:
    """Read what `encode` wrote.

    Raises:
        FormatError: it is damaged.
    """
    width, rotate = cursor.byte(), cursor.byte()
    demand(width in WIDTHS and rotate <= 1, "planes of an unknown kind")
    demand(out.size % width == 0, "planes do not fit")
    size = out.size // width
    planes = [child(cursor, size, read)]
    planes.append(child(cursor, size, read, planes[0]))
    planes += [child(cursor, size, read) for _ in range(width - 2)]
    join(planes, bool(rotate), out)


def split(data: Bytes, width: int, rotate: bool) -> list[Bytes]:
    """The planes of little-endian elements, the highest byte's first."""
    library = kernel.library()
    size = data.size // width
    if library is not None and width <= 4:
        out = np.empty(data.size, np.uint8)
        library.lissom_split(kernel.address(data), size, width, rotate, kernel.address(out))
        return list(out.reshape(width, size))
    values = data.view(f"<u{width}")
    if rotate:
        one, last = values.dtype.type(1), values.dtype.type(8 * width - 1)
        values = values << one | values >> last
    return [
        np.ascontiguousarray(plane) for plane in values.view(np.uint8).reshape(-1, width).T[::-1]
    ]


def join(planes: list[Bytes], rotate: bool, out: Bytes) -> None:
    """What `split` took apart."""
    width = len(planes)
    whole = out.reshape(-1, width)
    for i, plane in enumerate(planes):
        whole[:, width - 1 - i] = plane
    if rotate:
        values = np.frombuffer(out.data, f"<u{width}")
        one, last = values.dtype.type(1), values.dtype.type(8 * width - 1)
        values[:] = values >> one | values << last
