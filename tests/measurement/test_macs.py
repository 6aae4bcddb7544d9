"""Multiply-accumulates equal those counted by hand, in float and in quantized forms."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lissom.measurement.macs import multiply_accumulates
from tests import models
from tests.measurement.stacks import floats, graph_of

F = np.float32


def count(tmp_path, model, feeds):
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    return multiply_accumulates(path, feeds)


def single(node, shape, weights, rank):
    return graph_of([node], [floats("x", *shape)], [floats("y", *[None] * rank)], weights)


@pytest.mark.parametrize(
    ("node", "shape", "weight", "expected"),
    [
        # 8x8 outputs, 6 filters of 4 channels of 3x3
        (("Conv", {"pads": [1, 1, 1, 1]}), (2, 4, 8, 8), (6, 4, 3, 3), 2 * 64 * 6 * 4 * 9),
        (("Conv", {"group": 4, "strides": [2, 2]}), (1, 4, 9, 9), (4, 1, 3, 3), 16 * 4 * 9),
        (("ConvTranspose", {"strides": [2, 2]}), (1, 4, 5, 5), (4, 6, 2, 2), 25 * 4 * 6 * 4),
        (("ConvTranspose", {"group": 2}), (1, 4, 5, 5), (4, 3, 2, 2), 25 * 4 * 3 * 4),
        (("MatMul", {}), (2, 3, 5, 7), (7, 4), 2 * 3 * 5 * 7 * 4),
        (("Gemm", {"transA": 1, "transB": 1}), (7, 5), (4, 7), 5 * 7 * 4),
        (("Einsum", {"equation": "bij,jk->bik"}), (2, 3, 7), (7, 4), 2 * 3 * 7 * 4),
    ],
)
def test_float_operators(tmp_path, node, shape, weight, expected):
    kind, attributes = node
    made = helper.make_node(kind, ["x", "w"], ["y"], **attributes)
    rank = 2 if kind == "Gemm" else len(shape)
    model = single(made, shape, {"w": np.ones(weight, F)}, rank)
    assert count(tmp_path, model, {"x": np.ones(shape, F)}) == expected


def test_a_convolution_is_counted_as_torch_would_run_it(tmp_path):
    """Against a count in plain loops over the output of the depthwise network's first layers."""
    model = models.depthwise()
    one = count(tmp_path, model, models.feeds(model, 1))
    three = count(tmp_path, model, models.feeds(model, 3))
    assert three == 3 * one
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        value.name: [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    expected = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            filters = weights[node.input[1]]
            expected += int(np.prod(shapes[node.output[0]])) * int(np.prod(filters[1:]))
        if node.op_type == "Gemm":
            expected += int(np.prod(weights[node.input[1]]))
    assert one == expected


def test_attention_written_out_scales_with_the_square_of_the_length(tmp_path):
    model = models.encoder()
    work = [count(tmp_path, model, models.feeds(model, 1, sequence=n)) for n in (8, 16, 24)]
    # a n + b n^2: a second difference is 2 b h^2; with the two products of width 32, b = 64 each.
    second = work[2] - 2 * work[1] + work[0]
    assert second > 0
    assert second % (2 * 64 * 32) == 0


def test_fused_attention_equals_its_two_products(tmp_path):
    batch, length, width, heads = 2, 6, 32, 4
    node = helper.make_node(
        "MultiHeadAttention", ["q", "k", "v"], ["y"], domain="com.microsoft", num_heads=heads
    )
    inputs = [floats(name, batch, None, width) for name in "qkv"]
    model = graph_of([node], inputs, [floats("y", batch, None, width)], {})
    feeds = {"q": np.ones((batch, length, width), F)}
    feeds |= {name: np.ones((batch, 9, width), F) for name in "kv"}
    assert count(tmp_path, model, feeds) == 2 * (batch * length * 9 * width)


def test_dynamic_quantization_keeps_the_count(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    model = models.mlp()
    source, target = tmp_path / "f.onnx", tmp_path / "q.onnx"
    onnx.save(model, source)
    quantize_dynamic(source, target)
    kinds = {node.op_type for node in onnx.load(target).graph.node}
    assert "MatMulInteger" in kinds
    feeds = models.feeds(model, 4)
    assert multiply_accumulates(target, feeds) == multiply_accumulates(source, feeds) > 0


def test_qdq_and_packed_weights_keep_the_count(tmp_path):
    quantized = graph_of(
        [
            helper.make_node("DequantizeLinear", ["w", "s"], ["f"]),
            helper.make_node("MatMul", ["x", "f"], ["y"]),
        ],
        [floats("x", "n", 32)],
        [floats("y", "n", 16)],
        {"w": np.ones((32, 16), np.int8), "s": np.array(0.1, F)},
    )
    packed = graph_of(
        [
            helper.make_node(
                "MatMulNBits",
                ["x", "w", "s"],
                ["y"],
                domain="com.microsoft",
                K=32,
                N=16,
                bits=4,
                block_size=32,
            )
        ],
        [floats("x", "n", 32)],
        [floats("y", "n", 16)],
        {"w": np.zeros((16, 1, 16), np.uint8), "s": np.ones(16, F)},
    )
    feeds = {"x": np.ones((5, 32), F)}
    assert count(tmp_path, quantized, feeds) == 5 * 32 * 16
    assert count(tmp_path, packed, feeds) == 5 * 32 * 16


def test_weights_in_external_data_are_found(tmp_path):
    model = models.mlp()
    inside = count(tmp_path, model, models.feeds(model))
    folder = tmp_path / "external"
    folder.mkdir()
    path = folder / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (folder / "weights.bin").stat().st_size > 1000
    assert multiply_accumulates(path, models.feeds(model)) == inside


def test_what_is_in_a_function_is_counted(tmp_path):
    body = helper.make_function(
        "local", "Product", ["a", "b"], ["c"],
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        [helper.make_opsetid("", 21)],
    )  # fmt: skip
    node = helper.make_node("Product", ["x", "w"], ["y"], domain="local")
    model = single(node, (2, 7), {"w": np.ones((7, 3), F)}, 2)
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(body)
    assert count(tmp_path, model, {"x": np.ones((2, 7), F)}) == 42


def test_what_cannot_be_known_is_none(tmp_path):
    branch = [
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], [f"y{name}"])],
            name,
            [],
            [floats(f"y{name}", 2, 3)],
        )
        for name in "ab"
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch[0], else_branch=branch[1])
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    model = graph_of(
        [node], [floats("x", 2, 7), condition], [floats("y", 2, 3)], {"w": np.ones((7, 3), F)}
    )
    feeds = {"x": np.ones((2, 7), F), "c": np.array(True)}
    assert count(tmp_path, model, feeds) is None
    relu = single(helper.make_node("Relu", ["x"], ["y"]), (2, 7), {}, 2)
    assert count(tmp_path, relu, {"x": np.ones((2, 7), F)}) == 0
    made_up = single(helper.make_node("MegaMatMul", ["x"], ["y"], domain="z"), (2, 7), {}, 2)
    made_up.opset_import.append(helper.make_opsetid("z", 1))
    assert count(tmp_path, made_up, {"x": np.ones((2, 7), F)}) is None
