"""Tensors of an archive one by one, the way the safetensors library opens its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from lissom.errors import ModelError, RequestError, require
from lissom.storage.archive import Archive
from lissom.storage.closing import Closing
from lissom.storage.containers import safetensors
from lissom.storage.limits import Limits
from lissom.storage.manifest import Tensor

if TYPE_CHECKING:
    import torch

NUMPY: dict[str, Any] = {
    "F32": np.float32, "F64": np.float64, "F16": np.float16, "I8": np.int8, "U8": np.uint8,
    "I16": np.int16, "U16": np.uint16, "I32": np.int32, "U32": np.uint32, "I64": np.int64,
    "U64": np.uint64, "BOOL": np.bool_, "C64": np.complex64, "C128": np.complex128,
    "BF16": ml_dtypes.bfloat16, "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}  # fmt: skip
TORCH = {
    "F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16", "I8": "int8",
    "U8": "uint8", "I16": "int16", "U16": "uint16", "I32": "int32", "U32": "uint32",
    "I64": "int64", "U64": "uint64", "BOOL": "bool", "C64": "complex64", "C128": "complex128",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
FRAMEWORKS = {"pt": "pt", "torch": "pt", "np": "np", "numpy": "np"}


class safe_open(Closing):
    """An archive's tensors, each decoded when it is asked for.

    It has the methods of safetensors' `safe_open`, so code that reads one of its files reads a
    packed file or a packed folder of them with the other import. Where several files of an archive
    have a tensor of one name, its key is `FILE:NAME`.

    Args:
        archive: what `lissom pack` wrote.
        framework: "pt" for torch tensors, "np" for arrays.
        device: where torch puts them.
        limits: what the archive may ask for.

    Raises:
        FormatError: it is no archive, is damaged, or is over the limits.
        ModelError: there is no such archive.
        RequestError: the framework is unknown.
        MissingExtra: it is torch, and torch is not installed.
    """

    def __init__(
        self,
        archive: Path | str,
        framework: str = "pt",
        device: str | int = "cpu",
        limits: Limits | None = None,
    ) -> None:
        if framework not in FRAMEWORKS:
            raise RequestError(f"unknown framework {framework!r}", fix='"pt" or "np"')
        self._torch = FRAMEWORKS[framework] == "pt"
        if self._torch:
            require("torch", extra="torch", purpose="giving torch tensors")
        self._device = device
        self._archive = Archive(archive, limits)
        manifest = self._archive.manifest
        times: dict[str, int] = {}
        for tensor in manifest.tensors:
            times[tensor.name] = times.get(tensor.name, 0) + 1
        self._tensors: dict[str, Tensor] = {}
        for tensor in manifest.tensors:
            file = manifest.files[tensor.file].name
            key = tensor.name if times[tensor.name] == 1 else f"{file}:{tensor.name}"
            self._tensors[key] = tensor

    def keys(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._tensors)

    def offset_keys(self) -> list[str]:
        """The tensors' names, as they follow each other in the files."""
        return list(self._tensors)

    def metadata(self) -> dict[str, str] | None:
        """The metadata of the archive's safetensors file, or of the first that has some."""
        for number, file in enumerate(self._archive.manifest.files):
            if file.container == "safetensors":
                found = safetensors.metadata(self._archive.source(number))
                if found:
                    return found
        return None

    def get_tensor(self, name: str) -> Any:
        """A tensor, or an array: its values in memory of their own.

        Raises:
            RequestError: there is no such tensor, or no type of the framework for its values.
            FormatError: it is damaged.
        """
        tensor = self._find(name)
        content = self._archive.tensor(tensor)
        return self._as_torch(tensor, content) if self._torch else as_array(tensor, content)

    def get_slice(self, name: str) -> Slice:
        """A tensor to be indexed: `get_slice(name)[:, :4]` decodes it and gives that part.

        Raises:
            RequestError: there is no such tensor.
        """
        return Slice(self, name, self._find(name))

    def _find(self, name: str) -> Tensor:
        if name in self._tensors:
            return self._tensors[name]
        return self._archive.manifest.tensor(name)

    def _as_torch(self, tensor: Tensor, content: bytearray) -> torch.Tensor:
        import torch

        kind = getattr(torch, TORCH.get(tensor.dtype, ""), None)
        if kind is None:
            raise _no_type(tensor, "torch")
        _check_size(tensor, kind.itemsize)
        if not content:
            return torch.empty(tensor.shape, dtype=kind, device=self._device)
        return torch.frombuffer(content, dtype=kind).reshape(tensor.shape).to(self._device)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def close(self) -> None:
        """Close the archive; what was given out stays."""
        self._archive.close()


class Slice:
    """A tensor that is decoded when it is indexed."""

    def __init__(self, opened: safe_open, name: str, tensor: Tensor) -> None:
        self._opened, self._name, self._tensor = opened, name, tensor

    def get_shape(self) -> list[int]:
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        return self._tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        return self._opened.get_tensor(self._name)[index]


def as_array(tensor: Tensor, content: bytearray) -> np.ndarray:
    """A tensor's bytes as an array of its shape.

    Raises:
        RequestError: numpy has no type for its values, which are packed or stored in blocks.
        ModelError: its shape does not fit its bytes.
    """
    kind = NUMPY.get(tensor.dtype)
    if kind is None:
        raise _no_type(tensor, "numpy")
    _check_size(tensor, np.dtype(kind).itemsize)
    return np.frombuffer(content, dtype=kind).reshape(tensor.shape)


def _check_size(tensor: Tensor, itemsize: int) -> None:
    values = 1
    for size in tensor.shape:
        values *= size
    if values * itemsize != tensor.length:
        raise ModelError(
            f"tensor {tensor.name!r} has {tensor.length:,} bytes, which is not what "
            f"{tensor.dtype} {list(tensor.shape)} takes",
            fix="save the model again; the archive gives back what was packed",
        )


def _no_type(tensor: Tensor, framework: str) -> RequestError:
    return RequestError(
        f"{framework} has no type for tensor {tensor.name!r}: it is {tensor.dtype}",
        fix=f"write its bytes with `lissom unpack --tensor {tensor.name}`",
    )
