from __future__ import annotations

import numpy as np
import pytest

from lissom.quantize.layer_rows import Window
from lissom.quantize.patches import rows_at
from lissom.targets.pairing import convolution_layout
from tests.graph.small import draw, node, opened, run, tensor


@pytest.mark.parametrize(
    ("sides", "group", "settings"),
    [
        ([7, 6], 1, {"pads": [1, 1, 1, 1]}),
        ([7, 6], 2, {"pads": [0, 2, 1, 0], "strides": [2, 1]}),
        ([9, 8], 4, {"dilations": [2, 1], "pads": [2, 0, 0, 1]}),
        ([8, 7], 1, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ([8, 7], 1, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ([8, 7], 1, {"auto_pad": "VALID"}),
        ([11], 2, {"pads": [2, 1], "strides": [3]}),
    ],
)
def test_rows_times_the_weight_are_the_convolution(sides, group, settings):
    weight = draw(8, 4 // group, *[3, 2][: len(sides)])
    nodes = [node("Conv", ["x", "w"], "y", group=group, **settings)]
    model = opened(nodes, [tensor("x", shape=["n", 4, *sides])], ["y"], {"w": weight})
    x = draw(2, 4, *sides, seed=1)
    (y,) = run(model, {"x": x})
    size = int(np.prod(y.shape[2:]))
    every = np.arange(2 * size)
    window = Window.of(next(iter(model.graph)))
    read, given = rows_at(window, x, y, every // size, every % size)
    flat = convolution_layout(weight.shape, group).rows(weight)
    parts = flat.reshape(group, 8 // group, -1)
    np.testing.assert_allclose(np.einsum("ngd,god->ngo", read, parts), given, atol=1e-5)


def test_rows_of_a_product_are_its_last_axis():
    x, y = draw(2, 3, 5, 4), draw(2, 3, 5, 6)
    read, given = rows_at(Window(), x, y, np.array([0, 1]), np.array([7, 14]))
    np.testing.assert_array_equal(read[:, 0], [x[0, 1, 2], x[1, 2, 4]])
    np.testing.assert_array_equal(given[:, 0], [y[0, 1, 2], y[1, 2, 4]])
