"""Reading any coding: its tag says which reader goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lissom.storage import kernel
from lissom.storage.bits import Cursor
from lissom.storage.coding import huffman, narrow, plain
from lissom.storage.coding.groups import decode as decode_groups
from lissom.storage.coding.nibbles import decode as decode_nibbles
from lissom.storage.coding.node import DEEPEST, Bytes, Read, Tag, demand, newer
from lissom.storage.coding.palette import decode as decode_palette
from lissom.storage.coding.planes import decode as decode_planes
from lissom.storage.coding.predicted import decode as decode_predicted
from lissom.storage.coding.records import decode as decode_records
from lissom.storage.coding.sparse import decode as decode_sparse
from lissom.storage.coding.symbols import decode as decode_rans

# The bytes of a block, and the array that they fill.
Block = tuple[memoryview, Bytes]

READERS: dict[int, Callable[[Cursor, Bytes, Bytes | None, Read], None]] = {
    Tag.RAW: plain.decode_raw,
    Tag.CONSTANT: plain.decode_constant,
    Tag.RANS: decode_rans,
    Tag.HUFFMAN: huffman.decode_huffman,
    Tag.LZMA: plain.decode_lzma,
    Tag.PLANES: decode_planes,
    Tag.WIDENED: narrow.decode_widened,
    Tag.SCALED: narrow.decode_scaled,
    Tag.SPARSE: decode_sparse,
    Tag.RECORDS: decode_records,
    Tag.NIBBLES: decode_nibbles,
    Tag.PALETTE: decode_palette,
    Tag.PREDICTED: decode_predicted,
    Tag.GROUPS: decode_groups,
}


def read(cursor: Cursor, out: Bytes, side: Bytes | None = None, depth: int = 0) -> None:
    """Fill `out` with what the coding at the cursor gives.

    Raises:
        FormatError: it is damaged.
    """
    demand(depth < DEEPEST, "codings are nested too deep")
    if taken := _by_kernel(cursor.rest(), out, side, depth):
        cursor.take(taken)
        return
    tag = cursor.byte()
    if tag not in READERS:
        raise newer(f"coding {tag}")

    def deeper(cursor: Cursor, out: Bytes, side: Bytes | None = None) -> None:
        read(cursor, out, side, depth + 1)

    READERS[tag](cursor, out, side, deeper)


def read_all(blocks: Sequence[Block]) -> list[int]:
    """Fill the arrays of blocks; how many bytes each took, or 0 where it is left for `read`."""
    library = kernel.library()
    if library is None or not blocks:
        return [0] * len(blocks)
    parts = [np.frombuffer(part, np.uint8) for part, _ in blocks]
    outs = [out for _, out in blocks]
    inside = np.array([kernel.address(part) for part in parts], np.uintp)
    filled = np.array([kernel.address(out) for out in outs], np.uintp)
    sizes = np.array([part.size for part in parts], np.uintp)
    counts = np.array([out.size for out in outs], np.uintp)
    taken = np.empty(len(blocks), np.uintp)
    library.lissom_decode_all(
        len(blocks), *map(kernel.address, (inside, sizes, filled, counts, taken))
    )
    found: list[int] = taken.tolist()
    return found


def _by_kernel(data: memoryview, out: Bytes, side: Bytes | None, depth: int) -> int:
    """How many bytes the compiled kernel took to fill `out`, or 0 where it is to be done here:
    because there is no kernel, because it does not know the coding, or because there is something
    wrong, which is then found again and named."""
    library = kernel.library()
    if library is None or not out.flags.c_contiguous:
        return 0
    if side is not None and side.size != out.size:
        side = None
    array = np.frombuffer(data, np.uint8)
    taken: int = library.lissom_decode(
        kernel.address(array),
        array.size,
        kernel.address(out),
        out.size,
        kernel.address(side),
        depth,
    )
    return taken
