from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lissom.diagnosis.emulate import convolution_loss, pair_loss, product_loss
from lissom.sessions import session_options
from lissom.targets.onnxruntime import kernels_saturate
from lissom.targets.pairing import convolution_layout, product_layout

RNG = np.random.default_rng(0)


def drawn(*shape, signed=False):
    low, high = (-127, 128) if signed else (0, 256)
    return RNG.integers(low, high, shape).astype(np.int8 if signed else np.uint8)


def slowly(codes, weights):
    """The sums of one row at a time, as the instruction makes them, less the exact ones."""
    loss = np.zeros((len(codes), len(weights)), np.int64)
    for row, activations in enumerate(codes.astype(int)):
        for channel, mine in enumerate(weights.astype(int)):
            for at in range(0, len(mine) - 1, 2):
                pair = activations[at] * mine[at] + activations[at + 1] * mine[at + 1]
                loss[row, channel] += min(max(pair, -32768), 32767) - pair
    return loss


@pytest.mark.parametrize("depth", [8, 9])
def test_pairs_lose_what_does_not_fit_16_bits(depth):
    codes, weights = drawn(20, depth), drawn(6, depth, signed=True)
    found = pair_loss(codes, weights)
    np.testing.assert_array_equal(found, slowly(codes, weights))
    assert found.any()


def test_a_pair_just_fits():
    weights = np.array([[64, 64], [64, 65], [-64, -64], [-64, -65]], np.int8)
    codes = np.full((1, 2), 255, np.uint8)
    np.testing.assert_array_equal(pair_loss(codes, weights), [[0, 32767 - 255 * 129, 0, 127]])


@pytest.mark.parametrize("group", [1, 2])
def test_a_convolution_is_the_product_of_its_windows(group):
    """Windows are gathered one by one, in the order kernel row, kernel column, channel."""
    codes, weight = drawn(2, 4, 5, 6), drawn(6, 4 // group, 3, 3, signed=True)
    layout = convolution_layout(weight.shape, group)
    found = convolution_loss(
        codes, weight, layout, pad_code=7, pads=[1, 0, 1, 2], strides=[2, 1], dilations=[1, 2],
        group=group,
    )  # fmt: skip
    padded = np.pad(codes, ((0, 0), (0, 0), (1, 1), (0, 2)), constant_values=7)
    for image, output, row, column in np.ndindex(found.shape):
        first = output // (6 // group) * (4 // group)
        taken = padded[
            image, first : first + 4 // group, 2 * row : 2 * row + 3, column : column + 5 : 2
        ]
        window = taken.transpose(1, 2, 0).reshape(1, -1)
        kernel = weight[output].transpose(1, 2, 0).reshape(1, -1)
        assert found[image, output, row, column] == slowly(window, kernel)[0, 0]
    assert found.shape == (2, 6, 3, 4) and found.any()


@pytest.mark.skipif(not kernels_saturate(), reason="this machine adds in 32 bits")
def test_the_kernel_of_this_machine_loses_the_same():
    codes, weights = drawn(8, 64), drawn(64, 32, signed=True)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, codes.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [8, 32])],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"a": codes})
    exact = codes.astype(np.int32) @ weights.astype(np.int32)
    np.testing.assert_array_equal(found - exact, product_loss(codes, weights, product_layout()))
