"""Read an .npz file that may be hostile: no pickles, and nothing larger than it says and may be."""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from lissom.arrays import Array
from lissom.errors import TaskError

# What the arrays of a file may take in memory; a small compressed file can declare any size.
LARGEST = 8 * 2**30
# How a damaged file, or one made to do harm, fails in zipfile, its decompressors and numpy.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
    ValueError,
    OverflowError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
)


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file by name.

    Raises:
        TaskError: the file is missing, damaged, no .npz, holds pickled objects or no arrays, or
            declares more than `LARGEST` bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise TaskError(
            f"cannot read the file: {error.strerror or error}",
            where=str(path),
            fix="check the path",
        ) from None
    except DAMAGE as error:
        raise TaskError(
            f"the file is damaged, or no .npz file: {str(error) or type(error).__name__}",
            where=str(path),
            fix="write it with np.savez(file, input_name=array, labels=labels)",
        ) from None


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    if not members:
        raise TaskError(
            "the file holds no arrays", where=str(path), fix="np.savez(file, name=array)"
        )
    total = 0
    for member in members:
        with archive.open(member) as stream:
            total += _declared_bytes(stream, member, path)
        if total > LARGEST:
            raise TaskError(
                f"the arrays would take more than {LARGEST / 2**30:.0f} GiB of memory",
                where=str(path),
                fix="give a task file (file.py:object) whose function reads batch after batch",
            )


def _declared_bytes(stream: IO[bytes], member: zipfile.ZipInfo, path: Path) -> int:
    """Bytes the member's header asks for, if the member has them."""
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"{member.filename} has the unknown format version {version}")
    shape, _, dtype = read_header(stream)
    name = member.filename.removesuffix(".npy")
    if dtype.hasobject:
        raise TaskError(
            f"the array {name!r} holds pickled Python objects, which lissom never loads",
            where=str(path),
            fix="save arrays of numbers: rows of one length, np.asarray(rows, dtype=...)",
        )
    declared = math.prod(shape) * dtype.itemsize
    # Where an axis or the type is empty, any number of rows takes no bytes.
    if not declared and math.prod(max(size, 1) for size in shape) > LARGEST:
        raise ValueError(f"{member.filename} declares the shape {shape}")
    present = member.file_size - stream.tell()
    if declared != present:
        raise ValueError(f"{member.filename} declares {declared} bytes and has {present}")
    return declared
