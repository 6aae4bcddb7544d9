"""Tensors of a safetensors file: a length, a JSON header with every tensor's offsets, the data.

Source: the safetensors format, huggingface/safetensors, README.
"""

from __future__ import annotations

import json
from typing import Any

from lissom.storage.containers.ranges import NotThisFormat, TensorRange
from lissom.storage.containers.source import Source

# What the safetensors library itself reads at most.
LONGEST_HEADER = 100_000_000


def tensors(source: Source) -> list[TensorRange]:
    """Every tensor's range.

    Raises:
        NotThisFormat: the file is no safetensors file.
    """
    if source.size < 8:
        raise NotThisFormat("too short")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > min(source.size - 8, LONGEST_HEADER):
        raise NotThisFormat("a header longer than the file")
    try:
        header = json.loads(source.read(8, length).decode())
        if not isinstance(header, dict):
            raise NotThisFormat("a header without names")
        return [
            _range(name, entry, 8 + length)
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise NotThisFormat(f"a header that cannot be read: {error}") from None


def _range(name: str, entry: dict[str, Any], data: int) -> TensorRange:
    start, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    numbers = (start, end, *shape)
    if not isinstance(dtype, str) or any(type(n) is not int or n < 0 for n in numbers):
        raise NotThisFormat(f"the entry of {name!r} cannot be read")
    return TensorRange(name, dtype, shape, data + start, end - start)


def metadata(source: Source) -> dict[str, str]:
    """The texts under `__metadata__`; none where the header has none that can be read."""
    length = int.from_bytes(source.read(0, 8), "little") if source.size >= 8 else source.size
    if length > min(source.size - 8, LONGEST_HEADER):
        return {}
    try:
        found = json.loads(source.read(8, length).decode())["__metadata__"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
