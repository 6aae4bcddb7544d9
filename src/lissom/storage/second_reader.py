"""A second reader of lissom archives: this file, Python and NumPy, and nothing else of lissom.

    python second_reader.py model.lsm            list files and tensors
    python second_reader.py model.lsm OUT        write the files into the folder OUT

It is written from FORMAT.md and shares no code with the reader of the package, so the two check
each other, and a packed model can be read where lissom is not installed, or no longer is. It is
slower, and holds an archive and its files in memory.

It is one long file on purpose: what someone keeps beside an archive, or copies to a machine without
lissom, has to be one file.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC, END, VERSION = b"\x89LSM\r\n\x1a\n", b"\x89LSMEND\n", 1
LARGEST_BLOB, LARGEST_EXCESS, LARGEST_NUMBER = 1 << 26, 1 << 16, 1 << 62


class ArchiveError(ValueError):
    """The archive is damaged, hostile, or of another version."""


class Tensor(NamedTuple):
    """A tensor: its type, its shape, and where its bytes are in its file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


class Archive(NamedTuple):
    """An archive's files by path, and their tensors by path and name."""

    name: str
    alone: bool
    files: dict[str, bytes]
    tensors: dict[tuple[str, str], Tensor]


def read_archive(data: bytes, limit: int = 64 * 10**9) -> Archive:
    """Everything in an archive, all checksums checked.

    Raises:
        ArchiveError: it is damaged, of another version, or says it holds more than `limit` bytes.
    """
    if len(data) < 32 or data[:8] != MAGIC:
        raise ArchiveError("no lissom archive")
    version, crc, manifest_size, content = struct.unpack_from("<IIQQ", data, 8)
    if version != VERSION:
        raise ArchiveError(f"format {version}; this reader knows {VERSION}")
    if content > limit or not 0 < manifest_size <= LARGEST_BLOB:
        raise ArchiveError(f"it says it holds {content} bytes, and its manifest {manifest_size}")
    if data[-8:] != END or hashlib.sha256(data[:-40]).digest() != data[-40:-8]:
        raise ArchiveError("the checksum of the whole archive is wrong, or it is cut short")
    manifest, at = _blob(data, 32, manifest_size, crc, "the manifest")
    fields = Numbers(manifest)
    alone, name = fields.number(), fields.text()
    blobs = [_blob_entry(fields) for _ in range(fields.number())]
    entries = [_file_entry(fields) for _ in range(fields.number())]
    tensors = [_tensor_entry(fields) for _ in range(fields.number())]
    if fields.at != len(manifest) or alone > 1 or sum(e.size for e in entries) != content:
        raise ArchiveError("the manifest is damaged")
    _check(alone, name, [size for size, _ in blobs], entries, tensors)
    contents, lengths = [], b""
    for number, (size, blob_crc) in enumerate(blobs):
        start = at
        found, at = _blob(data, at, size, blob_crc, f"blob {number}")
        contents.append(found)
        lengths += struct.pack("<I", at - start)
    if data[at:-40] != lengths:
        raise ArchiveError("the lengths in the trailer are not those of the blobs")
    files = {entry.path: _file(entry, contents) for entry in entries}
    named = {(entries[file].path, tensor_name): each for file, tensor_name, each in tensors}
    return Archive(name, bool(alone), files, named)


def _file(entry: Entry, contents: list[bytes]) -> bytes:
    """A file, from the contents of the blobs."""
    parts = []
    for number, start, length in entry.ranges:
        if not 0 < length <= len(contents[number]) - start:
            raise ArchiveError(f"{entry.path} names bytes that are not there")
        parts.append(contents[number][start : start + length])
    whole = b"".join(parts)
    if len(whole) != entry.size or hashlib.sha256(whole).digest() != entry.sha256:
        raise ArchiveError(f"the checksum or the size of {entry.path} is wrong")
    return whole


class Entry(NamedTuple):
    """A file as the manifest has it; its ranges are (blob, start, length)."""

    path: str
    container: str
    size: int
    sha256: bytes
    ranges: list[tuple[int, int, int]]


def _blob_entry(fields: Numbers) -> tuple[int, int]:
    return fields.number(), int.from_bytes(fields.raw(4), "little")


def _file_entry(fields: Numbers) -> Entry:
    path, container, size, digest = fields.text(), fields.text(), fields.number(), fields.raw(32)
    ranges = [(fields.number(), fields.number(), fields.number()) for _ in range(fields.number())]
    _short(container)
    return Entry(path, container, size, digest, ranges)


def _tensor_entry(fields: Numbers) -> tuple[int, str, Tensor]:
    file, name, dtype, rank = fields.number(), fields.text(), fields.text(), fields.number()
    if rank > 64:
        raise ArchiveError(f"tensor {name!r} has {rank} dimensions")
    _short(dtype)
    shape = tuple([fields.number() for _ in range(rank)])
    return file, name, Tensor(dtype, shape, fields.number(), fields.number())


def _short(text: str) -> None:
    if len(text.encode()) > 32:
        raise ArchiveError(f"{text!r} is too long")


def _check_path(path: str) -> None:
    parts = path.split("/")
    bad = len(path.encode()) > 4096 or any(part in ("", ".", "..") for part in parts)
    bad = bad or any(len(part.encode()) > 255 for part in parts)
    if bad or any(c in '\\:*?"<>|\x7f' or ord(c) < 32 for c in path):
        raise ArchiveError(f"the path {path!r} is not allowed")


def _check(
    alone: int,
    name: str,
    sizes: list[int],
    entries: list[Entry],
    tensors: list[tuple[int, str, Tensor]],
) -> None:
    """The rules of FORMAT.md that no reading would trip over."""
    paths = [entry.path for entry in entries]
    for path in (name, *paths):
        _check_path(path)
    folders = {path[:at] for path in paths for at, c in enumerate(path) if c == "/"}
    if "/" in name or not paths or len(set(paths)) < len(paths) or folders & set(paths):
        raise ArchiveError("a path is there twice, or there is none")
    if alone and paths != [name]:
        raise ArchiveError("it says it is one file, and is not")
    ranges = [each for entry in entries for each in entry.ranges]
    if {number for number, _, _ in ranges} != set(range(len(sizes))):
        raise ArchiveError("there are blobs that no file needs, or too few")
    if sum(sizes) > sum(entry.size for entry in entries):
        raise ArchiveError("its blobs hold more than its files")
    for entry in entries:
        # Before a blob is read: the parts of a file could be there a million times.
        if sum(length for _, _, length in entry.ranges) != entry.size:
            raise ArchiveError(f"the ranges of {entry.path} do not make it up")
    if len({(file, tensor_name) for file, tensor_name, _ in tensors}) < len(tensors):
        raise ArchiveError("a tensor is there twice")
    place, last = (0, 0), (0, 0)
    for file, tensor_name, tensor in tensors:
        if file >= len(entries) or tensor.offset + tensor.length > entries[file].size:
            raise ArchiveError(f"tensor {tensor_name!r} leaves its file")
        if (file, tensor.offset) < place:
            raise ArchiveError(f"tensor {tensor_name!r} is not in its place")
        last = last if file == place[0] else (0, 0)
        place = file, tensor.offset
        if tensor.length and (tensor.offset, tensor.length) != last:
            if tensor.offset < sum(last):
                raise ArchiveError(f"tensor {tensor_name!r} overlaps the one before it")
            last = tensor.offset, tensor.length


def _blob(data: bytes, at: int, size: int, crc: int, what: str) -> tuple[bytes, int]:
    """A blob's content, and where its frame ends."""
    if not 0 < size <= LARGEST_BLOB or at + 8 > len(data):
        raise ArchiveError(f"{what} is damaged")
    coding, payload = struct.unpack_from("<II", data, at)
    end = at + 8 + coding + payload
    if coding + payload > size + LARGEST_EXCESS or end > len(data):
        raise ArchiveError(f"{what} is damaged")
    content = decode(data[at + 8 : at + 8 + coding], data[at + 8 + coding : end], size)
    if len(content) != size or zlib.crc32(content) != crc:
        raise ArchiveError(f"the checksum of {what} is wrong")
    return content, end


class Numbers:
    """Reads on in bytes that may end at any place: varints, texts and raw bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def raw(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            raise ArchiveError("the archive ends too soon")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self) -> int:
        value = shift = 0
        while shift < 63:
            byte = self.raw(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= LARGEST_NUMBER or (byte == 0 and shift):
                    break
                return value
            shift += 7
        raise ArchiveError("a number that is too large, or longer than it needs to be")

    def text(self) -> str:
        length = self.number()
        if length > 1 << 16:
            raise ArchiveError(f"a text of {length} bytes")
        try:
            return self.raw(length).decode()
        except UnicodeDecodeError:
            raise ArchiveError("a text that is not UTF-8") from None


def main(arguments: list[str]) -> None:
    """List an archive, or write its files."""
    archive = read_archive(Path(arguments[0]).read_bytes())
    if len(arguments) > 1:
        for path, content in archive.files.items():
            target = Path(arguments[1], path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                out.write(content)
        return
    for path, content in archive.files.items():
        print(f"{path}: {len(content)} bytes")
        for (file, name), tensor in archive.tensors.items():
            if file == path:
                print(f"  {tensor.dtype} {list(tensor.shape)} {name}")


# Codings: a coding's description and payload become `size` bytes. See FORMAT.md, "Codings".


Array = NDArray[np.uint8]
LOW = 1 << 16
ROOTS = np.array((65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194))
DEEPEST = 6


def check(condition: object, what: str) -> None:
    """Refuse what breaks the format."""
    if not condition:
        raise ArchiveError(what)


class Bits:
    """Bits that are taken from the front, the highest of a byte first."""

    def __init__(self, data: bytes) -> None:
        self.bits = "".join(format(byte, "08b") for byte in data)
        self.at = 0

    def take(self, width: int) -> int:
        check(width <= len(self.bits) - self.at, "a table ends early")
        self.at += width
        return int(self.bits[self.at - width : self.at] or "0", 2)

    def end(self) -> None:
        check(len(self.bits) - self.at < 8, "a table has more bytes than it needs")

    def unary(self, digit: int, most: int) -> int:
        count = 0
        while self.take(1) == digit:
            count += 1
            check(count < most, "a number of a table is too large")
        return count

    def exp_golomb(self) -> int:
        zeros = self.unary(0, 33)
        return (1 << zeros | self.take(zeros)) - 1

    def rice(self, low: int) -> int:
        return self.unary(1, 300) << low | self.take(low)


def decode(coding: bytes, payload: bytes, size: int) -> bytes:
    """The `size` bytes of a tensor, from its coding and its payload."""
    out = np.empty(size, np.uint8)
    index, data = Numbers(coding), Numbers(payload)
    block = index.number()
    check(0 < block <= 1 << 27 and block >= min(size, 1 << 20), "a block has a wrong size")
    for start in range(0, size, block):
        part = Numbers(data.raw(index.number()))
        out[start : start + block] = read(part, min(block, size - start))
        check(part.at == len(part.data), "a block is too long")
    check(index.at == len(index.data) and data.at == len(data.data), "a blob is too long")
    return out.tobytes()


def read(data: Numbers, size: int, side: Array | None = None, depth: int = 0) -> Array:
    """The `size` bytes that the coding at the front of `data` gives."""
    check(depth < DEEPEST, "codings are nested too deep")
    tag = data.raw(1)[0]
    check(tag < len(READERS), f"coding {tag} is not known: it was made by a newer lissom")
    out = READERS[tag](data, size, side, depth + 1)
    check(out.size == size, "a coding has another size")
    return out


def read_raw(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    return np.frombuffer(data.raw(size), np.uint8)


def read_constant(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    width = data.number()
    check(0 < width <= size and size % width == 0, "a constant does not fit")
    return np.tile(np.frombuffer(data.raw(width), np.uint8), size // width)


def read_lzma(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    packed = data.raw(data.number())
    window = min(max(1 << max(size - 1, 0).bit_length(), 4096), 1 << 26)
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": window}]
    try:
        plain = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(packed, size)
    except lzma.LZMAError as error:
        raise ArchiveError(f"an LZMA stream is damaged: {error}") from None
    return np.frombuffer(plain, np.uint8)


def read_table(bits: Bits, precision: int) -> NDArray[np.int64]:
    """The frequencies of 256 symbols."""
    fineness, low = bits.take(2), bits.take(3)
    comes = np.zeros(256, bool)
    at, present = 0, False
    while at < 256:
        run = bits.exp_golomb()
        check(run <= 256 - at and (run or at == 0), "a table has a wrong run")
        comes[at : at + run] = present
        at, present = at + run, not present
    level, weights = 1, np.zeros(256, np.int64)
    for symbol in np.flatnonzero(comes):
        step = bits.rice(low)
        level += -(step + 1 >> 1) if step & 1 else step >> 1
        check(1 <= level <= (15 << fineness) + 1, "a table has a wrong level")
        eighths = level - 1 << 3 - fineness
        weights[symbol] = ROOTS[eighths & 7] << (eighths >> 3)
    total = int(weights.sum())
    check(total > 0, "a table is empty")
    result = np.where(comes, np.maximum(((weights << precision) + total // 2) // total, 1), 0)
    rest = (1 << precision) - int(result.sum())
    for _ in range(-rest):
        result[np.argmax(result)] -= 1
    if rest > 0:
        result[np.argmax(result)] += rest
    return result


def read_context(
    data: Numbers, size: int, kind: int, side: Array | None, depth: int
) -> tuple[NDArray[Any] | None, Array]:
    """A number for each symbol, and the table each number means."""
    if kind == 0:
        return None, np.zeros(1, np.uint8)
    if kind == 2:
        check(side is not None and side.size == size, "a plane it refers to is not there")
        return side, read(data, 256, None, depth)
    if kind == 3:
        return None, read(data, 256, None, depth)
    check(kind == 1, f"contexts of kind {kind} are not known: it was made by a newer lissom")
    columns = data.number()
    check(0 < columns <= max(size, 1), "a matrix has a wrong shape")
    rows = read(data, -(-size // columns), None, depth).astype(int)
    sums = rows[:, None] + read(data, columns, None, depth)
    check(sums.max() <= 20, "a class is out of range")
    return sums.reshape(-1)[:size], read(data, 21, None, depth)


def read_rans(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    precision, lanes, kind = data.raw(1)[0], 1 << data.raw(1)[0], data.raw(1)[0]
    check(1 <= precision <= 14 and lanes <= 1 << 14, "an rANS coding has wrong parameters")
    check(size <= lanes << 14, "an rANS coding has too few lanes")
    context, tables = read_context(data, size, kind, side, depth)
    count = data.number()
    check(int(tables.max()) < count <= 24, "an rANS coding has a wrong number of tables")
    bits = Bits(data.raw(data.number()))
    freqs = np.stack([read_table(bits, precision) for _ in range(count)])
    bits.end()
    starts = np.cumsum(freqs, axis=1) - freqs
    symbols = np.stack([np.repeat(np.arange(256, dtype=np.uint8), row) for row in freqs])
    symbols, freqs, starts = symbols.ravel(), freqs.ravel(), starts.ravel()
    states = np.frombuffer(data.raw(4 * lanes), "<u4").astype(np.int64)
    check((states >= LOW).all(), "a lane starts with a wrong state")
    words = np.frombuffer(data.raw(2 * data.number()), "<u2")
    table = None if context is None else tables[context]
    which: Any = 0
    out = np.empty(size, np.uint8)
    at = 0
    for first in range(0, size, lanes):
        state = states[: size - first]
        slot = state & (1 << precision) - 1
        if kind == 3:
            before = out[first - lanes : first][: state.size] if first else np.zeros_like(state)
            which = tables[before].astype(np.int64)
        elif table is not None:
            which = table[first : first + lanes].astype(np.int64)
        symbol = symbols[which << precision | slot]
        key = which << 8 | symbol
        state[:] = freqs[key] * (state >> precision) + slot - starts[key]
        low = np.flatnonzero(state < LOW)
        check(low.size <= words.size - at, "an rANS stream ends early")
        state[low] = state[low] << 16 | words[at : at + low.size]
        at += low.size
        out[first : first + lanes] = symbol
    check(at == words.size and (states == LOW).all(), "an rANS stream is damaged")
    if kind == 3:  # lane by lane
        out = np.concatenate([out[lane::lanes] for lane in range(min(lanes, size))] or [out])
    return out


def read_huffman(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    check(size <= 1 << 12, "a Huffman stream is too long")
    bits = Bits(data.raw(data.number()))
    sizes, symbol = [], bits.exp_golomb()
    while symbol < 256:
        sizes.append((bits.take(5), symbol))
        check(0 < sizes[-1][0] <= 30, "a Huffman code has a wrong length")
        symbol += 1 + bits.exp_golomb()
    check(symbol == 256, "a Huffman code has too many symbols")
    codes, value, previous = {}, 0, 0
    for length, symbol in sorted(sizes):
        value <<= length - previous
        check(value < 1 << length, "a Huffman code is ambiguous")
        codes[value, length] = symbol
        value, previous = value + 1, length
    out = np.empty(size, np.uint8)
    for i in range(size):
        value, length = bits.take(1), 1
        while (value, length) not in codes:
            check(length < 30, "a Huffman stream is damaged")
            value, length = value << 1 | bits.take(1), length + 1
        out[i] = codes[value, length]
    bits.end()
    return out


def read_planes(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    width, rotate = data.raw(1)[0], data.raw(1)[0]
    check(width in (2, 4, 8) and rotate <= 1 and size % width == 0, "planes do not fit")
    out = np.empty((size // width, width), np.uint8)
    high = None
    for place in range(width):
        plane = read(data, size // width, high if place == 1 else None, depth)
        high = plane if place == 0 else high
        out[:, width - 1 - place] = plane
    values = out.reshape(-1).view(f"<u{width}")
    if rotate:
        one, last = values.dtype.type(1), values.dtype.type(8 * width - 1)
        values = values >> one | values << last
    return values.view(np.uint8)


def read_widened(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    kind = data.raw(1)[0]
    check(kind <= 1 and size % 4 == 0, "narrow floats do not fit")
    half = read(data, size // 2, None, depth)
    if kind == 0:
        return half.view("<f2").astype("<f4").view(np.uint8)
    return (half.view("<u2").astype("<u4") << np.uint32(16)).view(np.uint8)


def read_scaled(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    axis, width, columns = data.raw(1)[0], data.raw(1)[0], data.number()
    check(axis <= 1 and width in (1, 2) and size % 4 == 0, "scaled integers do not fit")
    check(
        0 < columns <= max(size // 4, 1) and size // 4 % columns == 0, "scaled integers do not fit"
    )
    rows = size // 4 // columns
    scales = read(data, 4 * (columns if axis else rows), None, depth).view("<f4")
    integers = read(data, rows * columns * width, None, depth).view(f"<i{width}")
    integers = integers.reshape(rows, columns)
    with np.errstate(over="ignore", invalid="ignore"):
        values = integers.astype("<f4") * (scales if axis else scales[:, None])
    values[integers == np.iinfo(integers.dtype).min] = -0.0
    flat: Array = values.reshape(-1).view(np.uint8)
    return flat


def read_sparse(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    width, kind, signs, count = data.raw(1)[0], data.raw(1)[0], data.raw(1)[0], data.number()
    check(width in (1, 2, 4, 8) and size % width == 0 and kind <= 2, "a sparse coding does not fit")
    total = size // width
    check(count <= total and signs <= 1, "a sparse coding does not fit")
    if kind == 0:
        full = np.unpackbits(read(data, -(-total // 8), None, depth), count=total).astype(bool)
    else:
        length = data.number()
        check(total <= 1 << 22, "a sparse coding names too many places")
        check(length <= 2 * total + 2, "a sparse coding names too many places")
        places = read(data, length, None, depth)
        check(places.size == 0 or places[-1] != 255, "a sparse coding names wrong places")
        numbers = np.diff(np.cumsum(places, dtype=np.int64)[places != 255], prepend=0)
        full = np.zeros(total, bool)
        if kind == 1:
            at = np.cumsum(numbers + 1) - 1
            check(at.size == 0 or at[-1] < total, "a sparse coding names wrong places")
            full[at] = True
        else:
            check(numbers.sum() == total, "a sparse coding names wrong places")
            full = np.repeat(np.arange(numbers.size) % 2 == 1, numbers)
    check(np.count_nonzero(full) == count, "a sparse coding names wrong places")
    out = np.zeros(total, f"<u{width}")
    if signs:
        minus = np.unpackbits(
            read(data, -(-(total - count) // 8), None, depth), count=total - count
        )
        out[~full] = minus.astype(out.dtype) << out.dtype.type(8 * width - 1)
    out[full] = read(data, count * width, None, depth).view(out.dtype)
    return out.view(np.uint8)


def read_records(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    count = data.raw(1)[0]
    check(0 < count <= 8, "a block has a wrong number of fields")
    sizes = [data.number() for _ in range(count)]
    whole = sum(sizes)
    check(all(sizes) and 0 < whole <= max(size, 1) and size % whole == 0, "blocks do not fit")
    fields = [read(data, size // whole * one, None, depth).reshape(-1, one) for one in sizes]
    return np.concatenate(fields, axis=1).reshape(-1)


def read_nibbles(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    check(size <= 1 << 15, "too many nibbles")
    halves = read(data, 2 * size, None, depth)
    out: Array = (halves[::2] & np.uint8(15)) | np.left_shift(halves[1::2], np.uint8(4))
    return out


def read_palette(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    width, index_width, count = data.raw(1)[0], data.raw(1)[0], data.number()
    check(width in (2, 4, 8) and index_width in (1, 2) and size % width == 0, "a palette is wrong")
    total = size // width
    check(0 < count <= min(total, 1 << 8 * index_width), "a palette has too many values")
    values = read(data, count * width, None, depth).view(f"<u{width}")
    index = read(data, total * index_width, None, depth).view(f"<u{index_width}")
    check(int(index.max(initial=0)) < count, "a palette has no such value")
    out: Array = values[index].view(np.uint8)
    return out


def read_predicted(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    taps, centre = data.raw(1)[0], data.raw(1)[0]
    check(2 <= taps <= 32 and size % taps == 0, "kernels do not fit")
    weights = np.zeros((taps, taps), np.int64)
    weights[np.tril_indices(taps, -1)] = np.frombuffer(data.raw(taps * (taps - 1) // 2), np.int8)
    kernels = read(data, size, None, depth).reshape(-1, taps).view(np.int8).astype(np.int64)
    for tap in range(1, taps):
        predicted = (kernels[:, :tap] @ weights[tap, :tap] + 32) >> 6
        kernels[:, tap] = (kernels[:, tap] + predicted).astype(np.int8)
    out: Array = kernels.astype(np.int8).view(np.uint8).reshape(-1) ^ np.uint8(centre)
    return out


def read_groups(data: Numbers, size: int, side: Array | None, depth: int) -> Array:
    width, each = data.raw(1)[0], data.number()
    check(width in (1, 2, 4) and 2 <= each <= 256, "groups of an unknown kind")
    check(size > 0 and size % (width * each) == 0, "groups do not fit")
    groups = size // (width * each)
    more = read(data, groups, None, depth)
    check(int(more.max()) < each, "a group has too many values")
    dtype = np.dtype(f"<u{width}")
    first = read(data, groups * width, None, depth).view(dtype)
    least = np.repeat(read(data, groups, None, depth), more) if width == 1 else None
    steps = read(data, int(more.sum(dtype=np.int64)) * width, least, depth).view(dtype)
    index = read(data, groups * each, None, depth).reshape(groups, each)
    check((index <= more[:, None]).all(), "a group has no such value")
    lists = np.zeros((groups, int(more.max()) + 1), dtype)
    lists[:, 0] = first
    lists[:, 1:][np.arange(lists.shape[1] - 1) < more[:, None]] = steps
    values = np.cumsum(lists, axis=1, dtype=dtype)
    out: Array = np.take_along_axis(values, index.astype(np.int64), axis=1).reshape(-1)
    return out.view(np.uint8)


READERS = (
    read_raw,
    read_constant,
    read_rans,
    read_huffman,
    read_lzma,
    read_planes,
    read_widened,
    read_scaled,
    read_sparse,
    read_records,
    read_nibbles,
    read_palette,
    read_predicted,
    read_groups,
)


if __name__ == "__main__":
    main(sys.argv[1:])
