from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from lissom.quantize.blocks import ROWS_AT_ONCE, pack, pack_padded, quantize_blocks
from tests.graph.small import draw, opened, run, tensor

BITS = st.sampled_from([8, 4, 2])


def plain_grid(values: np.ndarray, bits: int) -> np.ndarray:
    """Round one block on the grid of its own smallest and largest value, slowly."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    levels = 2**bits - 1
    scale = np.float32((high - low) / levels)
    if scale < np.finfo(np.float32).tiny:
        return np.zeros_like(values)
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(values / scale) + zero, 0, levels) - zero) * scale


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 50)),
        elements=st.floats(-100, 100, width=32),
    ),
    BITS,
)
@example(np.array([[-16.0, 0.005]], np.float32), 8)
def test_never_a_larger_error_than_the_plain_grid(matrix, bits):
    found = quantize_blocks(matrix, bits, 16)
    assert found.codes.shape == (len(matrix), -(-matrix.shape[1] // 16), 16)
    assert found.codes.max() < 2**bits
    assert found.zero_points.max() < 2**bits
    assert found.dequantize().shape == matrix.shape
    rounded = found.dequantize()
    for row, line in enumerate(matrix):
        for start in range(0, len(line), 16):
            values = line[start : start + 16]
            error = np.linalg.norm((rounded[row, start : start + 16] - values).astype(np.float64))
            plain = np.linalg.norm((plain_grid(values, bits) - values).astype(np.float64))
            # Values of 32 bits are off by their own rounding.
            assert error <= plain + 4 * np.finfo(np.float32).eps * np.abs(values).max()


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_zero_is_exact_and_padding_is_zero(bits):
    matrix = draw(3, 40)
    matrix[:, ::3] = 0.0
    matrix[1] = 0.0
    found = quantize_blocks(matrix, bits, 32)
    assert (found.dequantize()[matrix == 0.0] == 0.0).all()
    np.testing.assert_array_equal(
        found.codes[:, 1, 8:], np.broadcast_to(found.zero_points[:, 1, None], (3, 24))
    )


@pytest.mark.parametrize(("bits", "share"), [(4, 0.96), (2, 0.75)])
def test_clipping_the_ends_costs_less_than_a_coarser_grid(bits, share):
    matrix = draw(200, 32)
    error = ((quantize_blocks(matrix, bits, 32).dequantize() - matrix) ** 2).sum()
    plain = sum(((plain_grid(row, bits) - row) ** 2).sum() for row in matrix)
    assert error < share * plain


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e30, 3e38])
def test_tiny_and_huge_weights(scale):
    matrix = (np.linspace(-1, 1, 64) * scale).astype(np.float32).reshape(2, 32)
    matrix[0, 0], matrix[1, -1] = -scale, scale
    for bits in (8, 4, 2):
        found = quantize_blocks(matrix, bits, 32)
        assert np.isfinite(found.scales).all()
        step = 2 * scale / (2**bits - 1)
        error = np.abs(found.dequantize().astype(np.float64) - matrix)
        # Below the smallest normal scale everything is zero.
        assert error.max() <= max(step, 255 * 1.2e-38)


def test_more_rows_than_are_worked_on_at_once():
    matrix = draw(ROWS_AT_ONCE + 3, 16)
    whole = quantize_blocks(matrix, 4, 16)
    last = quantize_blocks(matrix[-2:], 4, 16)
    np.testing.assert_array_equal(whole.codes[-2:], last.codes)
    np.testing.assert_array_equal(whole.scales[-2:], last.scales)


def bit_by_bit(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack one row the slow way: code i has the bits from i * bits on, lowest first."""
    stream = [(int(code) >> bit) & 1 for code in codes for bit in range(bits)]
    stream += [0] * (-len(stream) % 8)
    packed = [
        sum(stream[start + bit] << bit for bit in range(8)) for start in range(0, len(stream), 8)
    ]
    return np.array(packed, np.uint8)


@given(st.data(), BITS, st.integers(0, 19))
def test_packing_is_that_of_a_slow_loop(data, bits, length):
    codes = data.draw(hnp.arrays(np.uint8, (2, length), elements=st.integers(0, 2**bits - 1)))
    truth = np.array([bit_by_bit(row, bits) for row in codes]).reshape(2, -1)
    np.testing.assert_array_equal(pack_padded(codes, bits), truth)
    if length % (8 // bits) == 0:
        np.testing.assert_array_equal(pack(codes, bits), truth)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize(("depth", "width", "block"), [(64, 8, 32), (50, 7, 16), (9, 3, 32)])
def test_onnx_runtime_multiplies_by_what_the_codes_stand_for(bits, depth, width, block):
    matrix = draw(width, depth, seed=2)
    blocks = quantize_blocks(matrix, bits, block)
    names = ["x", "codes", "scales", "zeros"]
    attributes = {"K": depth, "N": width, "bits": bits, "block_size": block, "accuracy_level": 0}
    model = opened(
        [helper.make_node("MatMulNBits", names, ["y"], domain="com.microsoft", **attributes)],
        [tensor("x", shape=["n", depth])],
        [tensor("y", shape=["n", width])],
        {
            "codes": pack(blocks.codes, bits),
            "scales": blocks.scales,
            "zeros": pack_padded(blocks.zero_points, bits),
        },
    )
    x = draw(5, depth, seed=3)
    np.testing.assert_allclose(
        run(model, {"x": x})[0], x @ blocks.dequantize().T, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("width", "block"), [(64, 32), (50, 16), (10, 32)])
def test_onnx_runtime_looks_up_what_the_codes_stand_for(bits, width, block):
    table = draw(20, width, seed=2)
    blocks = quantize_blocks(table, bits, block)
    names = ["codes", "ids", "scales", "zeros"]
    attributes = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    model = opened(
        [
            helper.make_node(
                "GatherBlockQuantized", names, ["y"], domain="com.microsoft", **attributes
            )
        ],
        [tensor("ids", TensorProto.INT64, ["n"])],
        [tensor("y", shape=["n", width])],
        {
            "codes": pack(blocks.codes.reshape(20, -1)[:, :width], bits),
            "scales": blocks.scales,
            "zeros": pack_padded(blocks.zero_points, bits),
        },
    )
    ids = np.array([3, 0, 19, 3])
    np.testing.assert_allclose(run(model, {"ids": ids})[0], blocks.dequantize()[ids], rtol=1e-6)
