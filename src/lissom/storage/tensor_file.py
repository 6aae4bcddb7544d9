"""One tensor of an archive as a file: .npy where numpy has its type, else its plain bytes."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from lissom.errors import RequestError
from lissom.onnx_file import failing_as_folder_error, write_beside
from lissom.storage.archive import Archive
from lissom.storage.manifest import Tensor
from lissom.storage.safe import NUMPY, as_array

NPY = ".npy"
LONGEST = 100


def write_tensor(archive: Archive, tensor: Tensor, output: Path | None = None) -> Path:
    """Write a tensor to a file: an output that ends in .npy is one, any other the bytes alone.

    Without `output` it is in the current folder, by the tensor's name.

    Raises:
        RequestError: the file is there already, or .npy has no type for the values.
        FormatError: the tensor is damaged.
        FolderError: the file cannot be written.
    """
    known = tensor.dtype in NUMPY and np.dtype(NUMPY[tensor.dtype]).isbuiltin == 1
    name = re.sub(r"[^\w.-]+", "_", tensor.name)[-LONGEST:].lstrip(".") or "tensor"
    path = output or Path(name + (NPY if known else ".bin"))
    if path.exists():
        raise RequestError(
            "there is something already where the tensor would go",
            where=str(path),
            fix="name another file with -o, or remove it first",
        )
    as_npy = path.suffix == NPY
    if as_npy and not known:
        raise RequestError(
            f".npy has no type for {tensor.dtype}",
            where=str(path),
            fix="let the output end in .bin: its plain bytes",
        )
    content = archive.tensor(tensor)
    data = io.BytesIO()
    if as_npy:
        np.save(data, as_array(tensor, content))
    with failing_as_folder_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_beside(path, data.getvalue() if as_npy else bytes(content))
    return path
