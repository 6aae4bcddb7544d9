"""What NNCodec makes of integer tensors, losslessly: run by benchmarks/archive.py in the
environment where `nncodec` is, which needs another NumPy than lissom.

    python nncodec_peer.py TENSORS.npz

Prints the bytes it takes and the seconds; every tensor is decoded again and compared.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time

import numpy as np
from nncodec import tensor as nncodec


def main(path: str) -> None:
    """Code every tensor of a file on its own, in the mode that its authors give for integers."""
    total = encoding = decoding = 0.0
    with np.load(path) as arrays, tempfile.TemporaryDirectory() as folder:
        for name in arrays.files:
            array = arrays[name].astype(np.int32)
            with contextlib.redirect_stdout(io.StringIO()):
                start = time.perf_counter()
                stream = nncodec.encode(array, {"results": folder, "use_dq": False})
                middle = time.perf_counter()
                back = nncodec.decode(stream)
                end = time.perf_counter()
            if not np.array_equal(back.reshape(array.shape), array):
                raise SystemExit(f"NNCodec does not give {name} back")
            total += len(stream)
            encoding, decoding = encoding + middle - start, decoding + end - middle
    print(int(total), encoding, decoding)


if __name__ == "__main__":
    main(sys.argv[1])
