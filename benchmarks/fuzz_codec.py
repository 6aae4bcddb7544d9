"""Damaged codings thrown at the decoder, to be run by hand and under sanitizers:

    gcc -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -shared -fPIC \
        -fvisibility=hidden -o src/lissom/storage/_kernel.so src/lissom/storage/kernel.c
    LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
        PYTHONMALLOC=malloc python benchmarks/fuzz_codec.py 600

Each damaged coding must be refused with a FormatError or give bytes; now and then the second reader
reads it too, and must agree.
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np

from lissom.errors import FormatError
from lissom.storage import codec, kernel, second_reader


def seeds() -> list[tuple[codec.Coded, int]]:
    """Small tensors of every coding."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((60, 90)) * np.exp(rng.standard_normal((60, 1)))
    floats = weights.astype("<f4")
    codes = np.rint(weights / np.abs(weights).max(axis=1, keepdims=True) * 127)
    scales = np.exp(rng.standard_normal((128, 1)) / 4)
    levels = np.rint(rng.standard_normal((128, 32)) * 2.5).clip(-7, 7) * scales
    walks = np.abs(np.cumsum(rng.integers(-2, 3, (60, 90)), axis=1) % 30 - 15).astype(np.uint8)
    thin = np.where(rng.random(weights.shape) < 0.02, floats, 0).astype("<f4")
    made: list[tuple[np.ndarray, str]] = [
        (floats, "F32"),
        (weights.astype("<f2"), "F16"),
        (floats.view("<u4") >> 16 << 16, "F32"),
        (floats.astype("<f2").astype("<f4"), "F32"),
        ((codes.astype("<f4") * np.float32(0.01)).astype("<f4"), "F32"),
        (floats * (rng.random(weights.shape) < 0.1), "F32"),
        (thin, "F32"),
        (np.where(np.arange(90) // 30 == 1, floats, np.float32(0)), "F32"),
        (codes.astype(np.int8), "I8"),
        (np.cumsum(codes.reshape(60, 10, 3, 3) / 9, axis=3).astype(np.int8), "I8"),
        (np.rint(levels / np.abs(levels).max() * 127).astype(np.int8), "I8"),
        (levels.astype("<f2"), "F16"),
        (levels.astype("<f4"), "F32"),
        (walks[:, ::2] | walks[:, 1::2] << 4, "U8"),
        (np.arange(300), "I64"),
        (rng.choice(rng.standard_normal(9), (60, 90)).astype("<f4"), "F32"),
        (np.frombuffer(b"weights and biases " * 40, np.uint8), "BYTES"),
        (np.frombuffer(b"mississippi river", np.uint8), "BYTES"),
        (rng.integers(0, 256, (30, 36), np.uint8), "GGUF:Q4_0"),
        (rng.integers(0, 256, (8, 45), np.uint8) & 0x33, "U4"),
    ]
    result = []
    for array, dtype in made:
        data = np.ascontiguousarray(array).tobytes()
        shape = array.shape if dtype != "U4" else (8, 90)
        result.append((codec.encode(memoryview(data), dtype, shape), len(data)))
    return result


def damaged(data: bytes, random_: random.Random) -> bytes:
    """A few bytes flipped, set, cut out, or doubled; early ones more often."""
    result = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 4, 16))):
        if not result:
            break
        at = min(int(len(result) * random_.random() ** random_.choice((1, 4))), len(result) - 1)
        kind = random_.randrange(6)
        if kind < 2:
            result[at] ^= 1 << random_.randrange(8)
        elif kind < 4:
            result[at] = random_.choice((0, 1, 2, 127, 128, 255, random_.randrange(256)))
        elif kind == 4:
            del result[at : at + random_.randrange(1, 5)]
        else:
            result[at:at] = result[at : at + random_.randrange(1, 5)]
    return bytes(result)


def main(seconds: float) -> None:
    """Run for so many seconds and say what came of it."""
    random_ = random.Random(int(time.time()))
    known = seeds()
    tried = refused = slowest = compared = 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        coded, size = random_.choice(known)
        coding, payload = coded.coding, coded.payload
        if random_.random() < 0.1:
            coding = damaged(coding, random_)
        elif random_.random() < 0.05:
            size = random_.randrange(2 * size)
        else:
            payload = damaged(payload, random_)
        out = bytearray(size)
        start = time.monotonic()
        try:
            codec.decode(memoryview(coding), memoryview(payload), memoryview(out))
            ours: bytes | None = bytes(out)
        except FormatError:
            ours = None
        slowest = max(slowest, time.monotonic() - start)
        tried, refused = tried + 1, refused + (ours is None)
        if random_.random() < 0.1:
            try:
                theirs: bytes | None = second_reader.decode(coding, payload, size)
            except second_reader.ArchiveError:
                theirs = None
            compared += 1
            if ours != theirs:
                raise SystemExit(f"the readers disagree: {coding.hex()} {payload.hex()} {size}")
    print(
        f"{kernel.in_use()}: {tried:.0f} codings in {seconds:.0f} s, {refused:.0f} refused, "
        f"{compared:.0f} read by both readers, the slowest took {slowest:.2f} s"
    )


if __name__ == "__main__":
    main(float(sys.argv[1]))
