"""What other coders make of a model file: zstd, xz, gzip and NNCodec."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from archive_bound import Tensors, fields

from lissom.storage.coding import planes
from lissom.storage.containers.ranges import TensorRange

PEERS = {
    "zstd -19": ["zstd", "-19", "-T1", "-c", "-q"],
    "xz -9": ["xz", "-9", "-T1", "-c"],
    "gzip -9": ["gzip", "-9", "-c"],
}


def sizes(
    path: Path, tensors: Tensors, bits: int, work: Path, nncodec: Path | None
) -> dict[str, int]:
    """The bytes each makes of a file, kept in the folder `work`.

    `nncodec` is the interpreter of the environment that has it. It codes integers losslessly, so
    it gets the codes of quantized weights (`bits` each, where they are packed), and of floats their
    exponents; the rest is counted as it is.
    """
    kept = work / f"{path.name}.peers.json"
    if not kept.exists():
        found = {name: _piped(command, path) for name, command in PEERS.items()}
        if nncodec is not None:
            other = path.stat().st_size - sum(data.size for _, data in tensors)
            found["NNCodec"] = other + _nncodec(tensors, bits, work, nncodec)
        kept.write_text(json.dumps(found))
    result: dict[str, int] = json.loads(kept.read_text())
    return result


def _piped(command: list[str], path: Path) -> int:
    """The bytes a program makes of a file."""
    run = subprocess.run([*command, str(path)], stdout=subprocess.PIPE, check=True)
    return len(run.stdout)


def _nncodec(tensors: Tensors, bits: int, work: Path, interpreter: Path) -> int:
    """The bytes NNCodec makes of integers and exponents, and the rest as it is."""
    integers, raw = {}, 0
    for tensor, data in tensors:
        for number, (part, width) in enumerate(fields(tensor, data)):
            key = f"{tensor.name}/{number}"
            if width == 1:
                integers[key] = _codes(part, tensor, bits)
                continue
            exponents, *others = planes.split(part, width, True)
            zero = part.reshape(-1, width).any(axis=1)
            raw += int(zero.sum()) * len(others)
            integers[key] = exponents.astype(np.int16) - int(np.median(exponents))
    with tempfile.NamedTemporaryFile(suffix=".npz", dir=work) as file:
        np.savez(file, **{str(i): array for i, array in enumerate(integers.values())})
        script = Path(__file__).with_name("nncodec_peer.py")
        run = subprocess.run(
            [interpreter, script, file.name], capture_output=True, text=True, check=False
        )
    if run.returncode:
        raise SystemExit(run.stderr)
    return raw + int(re.split(r"\s", run.stdout.strip().splitlines()[-1])[0])


def _codes(part: np.ndarray, tensor: TensorRange, bits: int) -> np.ndarray:
    """The integers that bytes hold: packed ones apart, around zero, in rows."""
    if tensor.dtype == "GGUF:Q4_1":
        codes = np.stack([part & 15, part >> 4], axis=1).astype(np.int8) - 8
    elif tensor.dtype == "U8":
        codes = np.stack([part >> shift & 15 for shift in (0, 4)], axis=1).astype(np.int8) - 8
        if bits == 2:
            codes = np.stack([part >> shift & 3 for shift in (0, 2, 4, 6)], axis=1).astype(np.int8)
    else:
        codes = part.view(np.int8)
    rows = tensor.shape[0] if len(tensor.shape) > 1 and codes.size % tensor.shape[0] == 0 else 1
    return codes.reshape(rows, -1) if rows > 1 else codes.reshape(-1)


def zstd_speed(data: np.ndarray, work: Path) -> str:
    """What zstd says of its own decoding at level 19."""
    with tempfile.NamedTemporaryFile(dir=work) as file:
        file.write(data[: 1 << 23].tobytes())
        file.flush()
        run = subprocess.run(
            ["zstd", "-b19", "-i1", file.name], capture_output=True, text=True, check=True
        )
    speeds = re.findall(r"([\d.]+) MB/s", run.stdout + run.stderr)
    return f"{float(speeds[-1]):,.0f}" if speeds else "-"
