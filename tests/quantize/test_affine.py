from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto

from lissom.quantize.affine import (
    Affine,
    affine_of_range,
    along,
    bias_codes,
    channel_codes,
    largest_code,
    symmetric_channels,
)
from tests.graph.small import node, opened, reference, tensor

ENDS = st.floats(-(2.0**100), 2.0**100, width=32)


def onnx_codes(values: np.ndarray, affine: Affine) -> np.ndarray:
    """QuantizeLinear as ONNX defines it."""
    model = opened(
        [node("QuantizeLinear", ["x", "scale", "zero"], "y")],
        [tensor("x", shape=list(values.shape))],
        [tensor("y", TensorProto.UINT8)],
        {"scale": np.asarray(affine.scale), "zero": np.asarray(affine.zero_point)},
    )
    return reference(model, {"x": values})[0]


@given(ENDS, ENDS)
def test_a_value_inside_the_range_is_off_by_half_a_step_at_most(a, b):
    low, high = min(a, b), max(a, b)
    affine = affine_of_range(low, high)
    scale, zero = float(affine.scale), int(affine.zero_point)
    for share in np.linspace(0, 1, 23):
        value = low + (high - low) * share
        code = np.clip(np.rint(value / scale) + zero, 0, 255)
        # A scale is never widened; the last place of float32 is what it may lack.
        assert abs((code - zero) * scale - value) <= scale / 2 * (1 + 1e-3) or scale == 1.0


@given(ENDS, ENDS)
def test_zero_is_exact_and_the_range_is_never_exceeded(a, b):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    affine = affine_of_range(min(a, b), max(a, b))
    assert affine.scale.dtype == np.float32
    assert affine.zero_point.dtype == np.uint8
    assert np.isfinite(affine.scale)
    assert affine.scale >= np.finfo(np.float32).tiny
    assert (onnx_codes(np.zeros(1, np.float32), affine) == affine.zero_point).all()
    if affine.scale != 1.0:
        assert float(affine.scale) * 255 <= high - low
    if low == 0.0:
        assert affine.zero_point == 0


@given(hnp.arrays(np.float32, 20, elements=st.floats(-1e6, 1e6, width=32)))
def test_codes_are_those_of_quantize_linear(values):
    affine = affine_of_range(float(values.min()), float(values.max()))
    found = onnx_codes(values, affine)
    steps = np.rint(values / affine.scale).astype(np.float64)
    np.testing.assert_array_equal(found, np.clip(steps + int(affine.zero_point), 0, 255))


@pytest.mark.parametrize("high", [6.0, 1.0, 0.1, 3.3333333, 127.5])
def test_codes_never_stand_for_more_than_the_top_of_the_range(high):
    affine = affine_of_range(0.0, high)
    assert float(affine.scale) * 255 <= high
    assert float(affine.scale) * 255 == pytest.approx(high, rel=3e-7)


@pytest.mark.parametrize("low_high", [(0.0, 0.0), (1e-44, 2e-44), (-1e-40, 0.0)])
def test_a_range_too_small_for_a_scale_has_scale_one(low_high):
    assert affine_of_range(*low_high) == Affine(np.float32(1.0), np.uint8(0))


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=ENDS),
    st.sampled_from([0, 1, -1]),
    st.sampled_from([8, 7]),
)
def test_every_channel_is_off_by_half_a_step_at_most(weight, axis, bits):
    codes, scales = symmetric_channels(weight, axis, bits)
    assert codes.dtype == np.int8
    assert scales.shape == (weight.shape[axis],)
    assert np.abs(codes.astype(int)).max() <= {8: 127, 7: 63}[bits]
    for channel in range(weight.shape[axis]):
        values = np.take(weight, channel, axis).astype(np.float64)
        found = np.take(codes, channel, axis) * float(scales[channel])
        assert (np.abs(found - values) <= float(scales[channel]) / 2 * (1 + 1e-4)).all()
        if scales[channel] != 1.0:
            assert np.abs(np.take(codes, channel, axis).astype(int)).max() == largest_code(bits)


def test_zeros_denormals_and_empty_weights():
    weight = np.zeros((3, 4), np.float32)
    weight[1] = 1e-42
    codes, scales = symmetric_channels(weight, 0)
    assert (codes == 0).all()
    assert (scales == 1.0).all()
    codes, scales = symmetric_channels(np.zeros((0, 4), np.float32), 1)
    assert codes.shape == (0, 4)
    assert (scales == 1.0).all()


def test_codes_at_a_wider_scale():
    weight = np.array([[10.0, -10.0], [1.0, 0.4]], np.float32)
    codes = channel_codes(weight, 0, np.array([0.1, 1.0], np.float32), bits=7)
    np.testing.assert_array_equal(codes, [[63, -63], [1, 0]])


@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-1e3, 1e3, width=32)),
    hnp.arrays(np.float32, 5, elements=st.floats(2.0**-20, 2.0, width=32)),
)
def test_bias_codes_are_exact_to_half_a_step(bias, scales):
    codes = bias_codes(bias, scales)
    assume(codes is not None)
    assert codes.dtype == np.int32
    wide = scales.astype(np.float64)
    assert (np.abs(codes * wide - bias) <= wide / 2 * (1 + 1e-9)).all()


def test_a_bias_that_leaves_no_room_for_sums_is_refused():
    bias = np.array([1.0], np.float32)
    assert bias_codes(bias, np.array([2.0**-29], np.float32)) is not None
    assert bias_codes(bias, np.array([2.0**-30], np.float32)) is None
    assert bias_codes(np.zeros(1, np.float32), np.zeros(1, np.float32)) is None
    assert bias_codes(np.zeros(0, np.float32), np.zeros(0, np.float32)).shape == (0,)


def test_along():
    assert along(np.arange(3), 1, 4).shape == (1, 3, 1, 1)
    assert along(np.arange(3), -1, 3).shape == (1, 1, 3)
