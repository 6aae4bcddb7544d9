"""What a teacher answers to data that never change, computed once and kept in a file."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from pathlib import Path

import numpy as np
import torch

from lissom.arrays import Array
from lissom.code_version import code_version
from lissom.distill.teachers import Teacher
from lissom.nn.calls import answer_of
from lissom.nn.feed import tensor_of
from lissom.nn.wrappers import evaluating
from lissom.onnx_file import failing_as_folder_error
from lissom.technique import Track, silent
from lissom.training_data import TrainingData

# Rows that a teacher sees at once; part of the key, since sums round as they are cut.
ROWS = 256
WIDTH = 4


def cached_answers(
    teacher: Teacher,
    data: TrainingData,
    folder: Path,
    *,
    limit: int,
    device: torch.device,
    track: Track = silent,
) -> Array | None:
    """The teacher's answers to whole arrays: (rows, ...) float32, mapped from a file in `folder`.

    None where the data are no whole arrays, or the answers are more than `limit` bytes or no row
    for each of the data: then the teacher has to answer each batch anew. The file is named by a
    digest of the teacher and the data, and has its name only once it is whole.

    Raises:
        FolderError: the file cannot be written.
    """
    if data.rows is None:
        return None
    first = _answers(teacher, data, 0, device)
    shape = (data.rows, *first.shape[1:])
    if len(first) != min(ROWS, data.rows) or math.prod(shape) * WIDTH > limit:
        return None
    facts = f"{teacher.digest()} {data.digest()} {code_version()} {torch.__version__} {device.type}"
    path = folder / f"teacher-{hashlib.sha256(facts.encode()).hexdigest()[:32]}.npy"
    kept = _open(path, shape)
    if kept is None:
        _write(path, teacher, data, shape, device, track)
        kept = _open(path, shape)
    return kept


def _open(path: Path, shape: tuple[int, ...]) -> Array | None:
    """The file's array; None if there is none, or another than expected."""
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.float32 else None


def _write(
    path: Path,
    teacher: Teacher,
    data: TrainingData,
    shape: tuple[int, ...],
    device: torch.device,
    track: Track,
) -> None:
    """A plain file: on a full disk writing it is an error, where a mapped one would crash."""
    starts = range(0, shape[0], ROWS)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
    with failing_as_folder_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*"):
            with contextlib.suppress(OSError):
                left.unlink()
        try:
            with beside.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for start in track(starts, "ask the teacher", len(starts)):
                    file.write(_answers(teacher, data, start, device).tobytes())
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def _answers(teacher: Teacher, data: TrainingData, start: int, device: torch.device) -> Array:
    arrays = data.whole().items()
    batch = {
        name: tensor_of(array[start : start + ROWS], name).to(device) for name, array in arrays
    }
    with evaluating(teacher.module):
        answer = answer_of(teacher.call(teacher.module, batch))
    array: Array = np.ascontiguousarray(answer.float().cpu().numpy())
    return array
