"""Tensors come back bit by bit from both readers, as the coding they should have become."""

from __future__ import annotations

import random

import ml_dtypes
import numpy as np
import pytest

from lissom.errors import FormatError
from lissom.storage import codec, kernel, rans, second_reader
from lissom.storage.bits import varint
from lissom.storage.coding import tree
from lissom.storage.coding.node import Tag
from lissom.storage.frequencies import entropy_bits

needs_kernel = pytest.mark.skipif(kernel.library() is None, reason="lissom has no compiled kernel")
RNG = np.random.default_rng(0)
WEIGHTS = (RNG.standard_normal((96, 160)) * np.exp(RNG.standard_normal((96, 1)) / 2)).astype("<f4")
MOST = np.abs(WEIGHTS).max(axis=1, keepdims=True)
CODES = np.rint(WEIGHTS / MOST * 127)
KERNELS = np.cumsum(RNG.standard_normal((64, 32, 3, 3)), axis=3)
KERNELS = np.rint(KERNELS / np.abs(KERNELS).max() * 127)
SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-42], "<f4").view("<u4")
SPECIAL = np.concatenate([SPECIAL, np.array([0x7F800001, 0xFFC12345], "<u4")])
# A float16 scale and 32 codes of four bits, ten of these a row.
NIBBLES = np.clip(np.rint(RNG.standard_normal((64, 10, 32)) * 2.5 + 8), 0, 15).astype(np.uint8)
SCALES = np.exp(RNG.standard_normal((64, 10, 1)) / 4).astype("<f2").view(np.uint8)
GROUPS = (NIBBLES.astype("<f4") - 8) * SCALES.view("<f2").astype("<f4")
BLOCKS = np.concatenate([SCALES, NIBBLES[..., :16] | NIBBLES[..., 16:] << 4], axis=2)
# Codes of four bits of which each is near the one before.
WALKS = np.abs(np.cumsum(RNG.integers(-2, 3, (64, 288)), axis=1) % 30 - 15).astype("u1")
WALKS_OF_4_BITS = WALKS[:, ::2] | WALKS[:, 1::2] << 4
CASES = {
    "float32": (WEIGHTS, "F32", Tag.PLANES),
    "float16": (WEIGHTS.astype("<f2"), "F16", Tag.PLANES),
    "bfloat16": (WEIGHTS.astype(ml_dtypes.bfloat16), "BF16", Tag.PLANES),
    "float64": (WEIGHTS.astype("<f8"), "F64", Tag.PLANES),
    "float16 in float32": (WEIGHTS.astype("<f2").astype("<f4"), "F32", Tag.WIDENED),
    "bfloat16 in float32": (WEIGHTS.view("<u4") >> 16 << 16, "F32", Tag.WIDENED),
    "int8 times a scale a row": ((CODES * (MOST / 127)).astype("<f4"), "F32", None),
    "int8 times scales": (CODES.astype("<f4") * (MOST / 127).astype("<f4"), "F32", Tag.SCALED),
    "int8 times a scale a column": (
        CODES.astype("<f4") * np.linspace(0.001, 0.01, 160, dtype="<f4"),
        "F32",
        Tag.SCALED,
    ),
    "sparse": (WEIGHTS * (RNG.random(WEIGHTS.shape) < 0.1), "F32", Tag.SPARSE),
    "very sparse": (np.where(RNG.random(WEIGHTS.shape) < 0.01, WEIGHTS, 0), "F32", Tag.SPARSE),
    "sparse blocks": (
        np.where(np.arange(160) // 40 % 2 == 0, WEIGHTS, np.float32(0)),
        "F32",
        Tag.SPARSE,
    ),
    "k-means": (RNG.choice(RNG.standard_normal(16), (96, 160)).astype("<f4"), "F32", Tag.PALETTE),
    "int8": (CODES.astype("i1"), "I8", Tag.RANS),
    "uint8": ((CODES + 128).astype("u1"), "U8", Tag.RANS),
    "kernels": (KERNELS.astype("i1"), "I8", Tag.PREDICTED),
    "kernels around 128": ((KERNELS + 128).clip(0, 255).astype("u1"), "U8", Tag.PREDICTED),
    "bfloat16 of groups of 16 values": (GROUPS.astype(ml_dtypes.bfloat16), "BF16", Tag.GROUPS),
    "float32 of groups of 16 values": (GROUPS.astype("<f4") * np.float32(0.1), "F32", Tag.GROUPS),
    "int8 of groups of 16 values": (
        np.rint(GROUPS / np.abs(GROUPS).max() * 127).astype("i1").reshape(64, 320),
        "I8",
        Tag.GROUPS,
    ),
    "walks of 4 bits": (WALKS_OF_4_BITS, "U8", Tag.NIBBLES),
    "int64": (np.arange(500), "I64", None),
    "constant": (np.full(1000, 1.5, "<f4"), "F32", Tag.CONSTANT),
    "Q4_0": (BLOCKS, "GGUF:Q4_0", Tag.RECORDS),
    "text": (np.frombuffer(b"weights and biases " * 99, "u1"), "BYTES", Tag.LZMA),
    "few bytes": (np.frombuffer(b"mississippi is a river", "u1"), "BYTES", None),
    "noise": (np.frombuffer(RNG.bytes(5000), "u1"), "F32", Tag.RAW),
    "special floats": (np.resize(SPECIAL, 500), "F32", None),
    "special sparse floats": (
        np.where(RNG.random(2000) < 0.1, np.resize(SPECIAL, 2000), 0).astype("<u4"),
        "F32",
        None,
    ),
    "one byte": (np.array([3], "u1"), "I8", None),
    "nothing": (np.empty(0, "<f4"), "F32", None),
    "length that does not fit": (np.frombuffer(RNG.bytes(4099), "u1"), "F32", None),
}


def decoded(coded: codec.Coded, size: int) -> bytes:
    out = bytearray(size)
    codec.decode(memoryview(coded.coding), memoryview(coded.payload), memoryview(out))
    return bytes(out)


def coded_case(name: str) -> tuple[bytes, codec.Coded]:
    array, dtype, _ = CASES[name]
    data = np.ascontiguousarray(array).tobytes()
    return data, codec.encode(memoryview(data), dtype, array.shape)


@pytest.mark.parametrize("name", CASES)
def test_both_readers_give_the_bytes_back(name: str) -> None:
    data, coded = coded_case(name)
    assert decoded(coded, len(data)) == data
    assert second_reader.decode(coded.coding, coded.payload, len(data)) == data
    if (tag := CASES[name][2]) is not None:
        assert coded.payload[0] == tag
    assert len(coded.payload) <= len(data) + 1


@pytest.mark.parametrize("name", CASES)
def test_without_the_kernel_the_bytes_are_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, compiled = coded_case(name)
    monkeypatch.setattr(kernel, "library", lambda: None)
    assert coded_case(name)[1] == compiled
    assert decoded(compiled, len(data)) == data


@needs_kernel
def test_the_kernel_does_the_work_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("NumPy decodes what the kernel could")

    names = ("float32", "float64", "bfloat16", "int8", "kernels", "Q4_0", "constant", "noise")
    names += ("bfloat16 of groups of 16 values", "walks of 4 bits")
    cases = [coded_case(name) for name in names]
    monkeypatch.setattr(tree, "READERS", dict.fromkeys(Tag, never))
    for data, coded in cases:
        assert decoded(coded, len(data)) == data


def test_rows_of_unlike_scale_take_less_than_the_entropy() -> None:
    scales = np.repeat([1, 3, 10, 30], 100)[:, None]
    codes = np.clip(np.rint(RNG.standard_normal((400, 512)) * scales), -127, 127).astype(np.int8)
    coded = codec.encode(memoryview(codes.tobytes()), "I8", codes.shape)
    bound = entropy_bits(rans.count(codes.view(np.uint8).reshape(-1))) / 8
    assert len(coded.payload) < 0.9 * bound


def test_kernels_take_less_than_the_entropy() -> None:
    codes = KERNELS.astype(np.int8)
    coded = codec.encode(memoryview(codes.tobytes()), "I8", codes.shape)
    bound = entropy_bits(rans.count(codes.view(np.uint8).reshape(-1))) / 8
    assert len(coded.payload) < 0.95 * bound


def test_neighbours_of_4_bits_take_less_than_the_entropy() -> None:
    data = np.ascontiguousarray(WALKS_OF_4_BITS)
    coded = codec.encode(memoryview(data.tobytes()), "U8", data.shape)
    assert len(coded.payload) < 0.85 * entropy_bits(rans.count(data.reshape(-1))) / 8


def test_what_was_of_4_bits_takes_little_more_than_them() -> None:
    values = GROUPS.astype(ml_dtypes.bfloat16)
    coded = codec.encode(memoryview(values.tobytes()), "BF16", values.shape)
    codes = entropy_bits(rans.count(NIBBLES.reshape(-1))) / 8
    assert len(coded.payload) < 2.2 * codes < 0.6 * values.nbytes


def test_a_large_tensor_is_several_blocks() -> None:
    rows = RNG.standard_normal((3000, 1024)).astype("<f4")
    data = rows.tobytes()
    coded = codec.encode(memoryview(data), "F32", rows.shape)
    assert decoded(coded, len(data)) == data
    assert len(coded.coding) > 5  # the size of a block, and two blocks at least


@pytest.mark.parametrize(
    "name",
    [
        "float32",
        "int8",
        "kernels",
        "very sparse",
        "k-means",
        "Q4_0",
        "few bytes",
        "text",
        "int8 of groups of 16 values",
        "walks of 4 bits",
    ],
)
def test_damaged_codings_are_refused_alike(name: str) -> None:
    data, coded = coded_case(name)
    random_ = random.Random(name)
    refused = 0
    for _ in range(60):
        payload = bytearray(coded.payload)
        at = int(len(payload) * random_.random() ** 3)
        payload[at] ^= 1 << random_.randrange(8)
        damaged = codec.Coded(coded.coding, bytes(payload[: random_.choice((None, -1, at + 1))]))
        try:
            ours = decoded(damaged, len(data))
        except FormatError:
            ours, refused = None, refused + 1
        try:
            theirs = second_reader.decode(damaged.coding, damaged.payload, len(data))
        except second_reader.ArchiveError:
            theirs = None
        assert ours == theirs
    assert refused > 20


def test_a_coding_of_another_size_is_refused() -> None:
    data, coded = coded_case("int8")
    for size in (0, len(data) - 1, len(data) + 1, 10 * len(data)):
        with pytest.raises(FormatError):
            decoded(coded, size)


@pytest.mark.parametrize(
    "payload",
    [
        bytes([Tag.PLANES, 4, 1] * 5000),
        bytes([Tag.NIBBLES] * 5000),
        bytes([Tag.RANS, 12, 60, 0]),
        bytes([Tag.CONSTANT, 0]),
        bytes([Tag.RECORDS, 1, 0]),
        bytes([Tag.GROUPS, 1, 1]),
        bytes([Tag.GROUPS, 1, 16, Tag.CONSTANT, 1, 16]),
        bytes([Tag.GROUPS, 1] * 5000),
        bytes([Tag.SPARSE, 1, 1, 0, 1, 2, Tag.RAW, 5, 255, Tag.RAW, 7]),
        bytes([Tag.SPARSE, 4, 0, 0, 0, Tag.CONSTANT, 1, 0, Tag.SCALED, 1, 1])
        + varint(1 << 40)
        + bytes([Tag.CONSTANT, 4, 0, 0, 0, 0, Tag.RAW]),
        bytes([99]),
    ],
    ids=[
        "deep planes",
        "deep nibbles",
        "lanes",
        "no width",
        "no field",
        "groups of one",
        "more values than elements",
        "deep groups",
        "a gap without an end",
        "columns of nothing",
        "unknown",
    ],
)
def test_hostile_blocks_are_refused(payload: bytes) -> None:
    coding = varint(1 << 20) + varint(len(payload))
    with pytest.raises(FormatError):
        decoded(codec.Coded(coding, payload), 4096)
    with pytest.raises(second_reader.ArchiveError):
        second_reader.decode(coding, payload, 4096)
