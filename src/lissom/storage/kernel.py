"""The compiled inner loops, where this installation has them.

kernel.c is built into a plain shared library beside this file when lissom is built on a machine
with a C compiler. Everything works without it, more slowly: see rans.py. LISSOM_KERNEL=numpy in
the environment leaves it unused.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lissom.storage import logarithms

ABI = 4
NAMES = {"win32": "_kernel.dll", "darwin": "_kernel.dylib"}

_size, _u32, _i64, _p = ctypes.c_size_t, ctypes.c_uint32, ctypes.c_int64, ctypes.c_void_p
SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "lissom_prepare": (None, [_p]),
    "lissom_decode": (_size, [_p, _size, _p, _size, _p, _u32]),
    "lissom_decode_all": (None, [_size, _p, _p, _p, _p, _p]),
    "lissom_count": (ctypes.c_int, [_p, _size, _p, _u32, _p]),
    "lissom_count_by_grid": (ctypes.c_int, [_p, _size, _size, _p, _p, _u32, _p]),
    "lissom_best_grid": (_i64, [_p, _size, _size, _size, _size, _p, _p]),
    "lissom_groups": (_size, [_p, _size, _size, _size, _u32, _p, _p, _p, _p]),
    "lissom_merge": (_u32, [_p, _u32, _i64, _p]),
    "lissom_entropy": (_i64, [_p, _size]),
    "lissom_fit": (_i64, [_p, _u32, _p, _size, _p, _p, _p]),
    "lissom_rans_encode": (_size, [_p, _size, _p, _p, _u32, _u32, _p, _size, _p]),
    "lissom_map": (None, [_p, _size, _p, _p]),
    "lissom_split": (None, [_p, _size, _u32, _u32, _p]),
}


def library_name() -> str:
    """The file name of the compiled kernel on this platform."""
    return NAMES.get(sys.platform, "_kernel.so")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where there is none that fits."""
    path = Path(__file__).with_name(library_name())
    if os.environ.get("LISSOM_KERNEL") == "numpy" or not path.is_file():
        return None
    try:
        loaded = ctypes.CDLL(str(path))
        if loaded.lissom_abi() != ABI:
            return None
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
        loaded.lissom_prepare(address(logarithms.TABLE))
    except (OSError, AttributeError):  # built for another machine, or by another version
        return None
    return loaded


def in_use() -> str:
    """Which of the two codes and decodes: "compiled" or "numpy"."""
    return "numpy" if library() is None else "compiled"


def address(array: NDArray[np.generic] | None) -> int | None:
    """Where a contiguous array is, for the kernel; the caller keeps the array until it returns."""
    if array is None:
        return None
    if not array.flags.c_contiguous:
        raise ValueError("the kernel takes contiguous arrays only")
    found: int = array.__array_interface__["data"][0]
    return found
