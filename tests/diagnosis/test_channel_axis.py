"""Channels are where the operators have them, whatever the rank; sizes may vary between batches."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lissom.diagnosis.channel_axis import made_axis
from lissom.diagnosis.cut import Network
from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.verdict import with_verdicts
from tests.diagnosis.networks import alike, quantized
from tests.models import Weights, build, node, saved, value

FLOAT = TensorProto.FLOAT


def of(found, name):
    return next(layer for layer in found.layers if layer.output == name)


def with_constants(model, **arrays):
    """The same network with other constants."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name in arrays:
            array = np.asarray(arrays[tensor.name], np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return changed


# Which axis a tensor of so many axes has its channels on; "t" is made of a product, "c" of a
# convolution.
PLACES = [
    ([("Relu", ["t"], {})], 4, 3),
    ([("Relu", ["c"], {})], 3, 1),
    ([("Transpose", ["t"], {"perm": [0, 3, 1, 2]})], 4, 1),
    ([("Transpose", ["c"], {"perm": [0, 2, 3, 1]})], 4, 3),
    ([("ReduceMean", ["t"], {"axes": [1, 2], "keepdims": 0})], 2, 1),
    ([("ReduceMean", ["c"], {"axes": [2, 3], "keepdims": 0})], 2, 1),
    ([("Squeeze", ["t", "last"], {})], 1, None),
    ([("Squeeze", ["t", "last"], {})], 2, None),
    ([("Unsqueeze", ["t", "last"], {})], 3, 1),
    ([("Gather", ["t", "number"], {"axis": 1})], 2, 1),
    ([("Mul", ["factors", "t"], {})], 4, 3),
    ([("MatMul", ["weight", "x"], {})], 4, 2),
    ([("MatMul", ["weight", "x"], {})], 1, 0),
    ([("Einsum", ["x", "weight"], {"equation": "bct,co->bot"})], 3, 1),
    ([("Einsum", ["weight", "x"], {"equation": "oc,...tc->...to"})], 5, 4),
    ([("LayerNormalization", ["c", "factors"], {})], 4, 3),
    ([("Reshape", ["t", "last"], {})], 4, 1),
    ([("Reshape", ["t", "last"], {})], 1, None),
]


@pytest.mark.parametrize(("made", "rank", "axis"), PLACES)
def test_the_axis_of_what_an_operator_gives(made, rank, axis):
    ((kind, inputs, attributes),) = made
    constants = {"weight": np.ones((4, 4)), "factors": np.ones(4), "kernel": np.ones((4, 4, 1, 1))}
    tensors = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in constants.items()]
    tensors.append(numpy_helper.from_array(np.int64([-1]), "last"))
    tensors.append(numpy_helper.from_array(np.int64(0), "number"))
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["t"]),
        helper.make_node("Conv", ["x", "kernel"], ["c"]),
        helper.make_node(kind, inputs, ["y"], **attributes),
    ]
    given = [value("x", FLOAT, "batch", "any")]
    graph = helper.make_graph(nodes, "one", given, [value("y", FLOAT, "batch")], tensors)
    assert made_axis(Network(helper.make_model(graph)), "y", rank) == axis


# A layer's node, and by what axes of weight and data its inputs, outputs and data go.
LAYERS = {
    "transposed convolution": (("ConvTranspose", ["x", "weight"], {}), (16, 12, 2, 2), 0, 1, 1),
    "product of rows": (("MatMul", ["x", "weight"], {}), (16, 12), 0, 1, 3),
    "product from the left": (("MatMul", ["weight", "x"], {}), (12, 16), 1, 0, 2),
    "sum of products": (
        ("Einsum", ["x", "weight"], {"equation": "bcht,co->boht"}), (16, 12), 0, 1, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_channels_are_numbered_as_the_layer_has_them(kind, turned, tmp_path):
    (operator, inputs, attributes), shape, taken, given, axis = LAYERS[kind]
    weights = Weights(0)
    weight = weights.rng.uniform(0.5, 1.0, shape)
    np.moveaxis(weight, taken, 0)[5] *= 20
    np.moveaxis(weight, given, 0)[[2, 9]] *= 7
    size = [3, 3, 3, 3]
    size[axis] = 16
    data = weights.rng.uniform(0.5, 1.0, (4, *size[1:])).astype(np.float32)
    np.moveaxis(data, axis, 0)[3] *= 9
    order = [*range(len(shape))][::-1]
    nodes = []
    if turned:
        # The weight as files hold it whose writer left a Transpose in them.
        weights.keep("stored", weight.transpose(order))
        nodes.append(node("Transpose", ["stored"], "weight", perm=order))
    else:
        weights.keep("weight", weight)
    weights.keep("scale", 9 / 255)
    weights.keep("zero", 0, np.uint8)
    layer = helper.make_node(operator, inputs, ["y"], "layer", **attributes)
    read, made = value("x", FLOAT, "batch", *size[1:]), value("y", FLOAT, "batch", "a", "b", "c")
    plain = build("plain", [*nodes, layer], [read], made, weights, 17)
    coded = onnx.ModelProto()
    coded.CopyFrom(plain)
    del coded.graph.node[:]
    codes = [
        node("QuantizeLinear", ["x", "scale", "zero"], "codes"),
        node("DequantizeLinear", ["codes", "scale", "zero"], "reals"),
    ]
    layer.input[list(layer.input).index("x")] = "reals"
    coded.graph.node.extend([*nodes, *codes, layer])
    paths = saved(plain, tmp_path / "plain.onnx"), saved(coded, tmp_path / "coded.onnx")
    (told,) = diagnose(*paths, [{"x": data}]).layers
    assert {each.axis: (each.count, set(each.worst)) for each in told.channels} == {
        "input": (16, {5}),
        "output": (12, {2, 9}),
        "activation": (16, {3}),
    }


def test_channels_of_groups_are_numbered_through(tmp_path):
    weights = Weights(0)
    weight = weights.rng.uniform(0.5, 1.0, (8, 6, 2, 2))
    weight[4:, 2] *= 20
    weight[6] *= 20
    weights.keep("weight", weight)
    kernel = weights.rng.uniform(0.5, 1.0, (8, 6, 1, 1))
    kernel[5:, 1] *= 20
    weights.keep("kernel", kernel)
    nodes = [
        node("ConvTranspose", ["x", "weight"], "up", group=2),
        node("Conv", ["up", "kernel"], "y", group=2),
    ]
    given, made = value("x", FLOAT, "batch", 8, 3, 3), value("y", FLOAT, "batch", 8, 4, 4)
    path = saved(build("groups", nodes, [given], made, weights, 17), tmp_path / "groups.onnx")
    data = weights.rng.normal(size=(4, 8, 3, 3)).astype(np.float32)
    found = diagnose(path, path, [{"x": data}])
    up, down = (
        {each.axis: (each.count, each.worst) for each in of(found, name).channels}
        for name in ("up", "y")
    )
    assert up == {"input": (8, (6,)), "output": (12, (8,))}
    # The first group's outputs are the first four, of inputs 0 to 5.
    assert down["input"] == (12, (7,)) and set(down["output"][1]) == {5, 6, 7}


def test_time_of_any_length_is_no_channel(tmp_path):
    """Each channel's bias is off by a number of its own; in the mean of all they are not off."""
    weights = Weights(0)
    weights.draw("kernel", 6, 4, 3, fan_in=12)
    weights.bias("bias", 6)
    nodes = [
        node("Conv", ["x", "kernel", "bias"], "sum", pads=[1, 1]),
        node("Neg", ["sum"], "y"),
    ]
    given, made = value("x", FLOAT, "batch", 4, "time"), value("y", FLOAT, "batch", 6, "time")
    model = build("audio", nodes, [given], made, weights, 17)
    off = np.array([0.3, -0.3, 0.2, -0.2, 0.1, -0.1])
    bias = numpy_helper.to_array(weights.tensors[1]) + off
    path = saved(model, tmp_path / "audio.onnx")
    other = saved(with_constants(model, bias=bias), tmp_path / "off.onnx")
    draw = weights.rng.normal
    batches = [{"x": draw(size=(8, 4, t)).astype(np.float32)} for t in (20, 33, 20)]
    session = ort.InferenceSession(path)
    power = sum(float(np.square(session.run(None, each)[0]).sum()) for each in batches)
    wrong = 8 * (20 + 33 + 20) * np.square(off).sum() / power
    parts = of(diagnose(path, other, batches), "sum").parts
    assert (parts.shift, parts.bias) == pytest.approx((wrong, wrong), rel=1e-4)


def test_an_output_of_one_number_a_sample(tmp_path):
    weights = Weights(0)
    weights.draw("first", 16, 1, fan_in=16)
    weights.keep("bias", [0.1])
    weights.keep("last", [-1], np.int64)
    nodes = [
        node("MatMul", ["x", "first"], "product"),
        node("Add", ["product", "bias"], "sum"),
        node("Squeeze", ["sum", "last"], "squeezed"),
        node("Sigmoid", ["squeezed"], "p"),
    ]
    given, made = value("x", FLOAT, "batch", 16), value("p", FLOAT, "batch")
    model = build("head", nodes, [given], made, weights, 17)
    path = saved(model, tmp_path / "head.onnx")
    other = saved(with_constants(model, bias=[0.4]), tmp_path / "off.onnx")
    batches = [{"x": weights.rng.normal(size=(n, 16)).astype(np.float32)} for n in (32, 4)]
    one, two = (
        np.concatenate([ort.InferenceSession(file).run(None, each)[0] for each in batches])
        for file in (path, other)
    )
    found = diagnose(path, other, batches)
    assert found.samples == 36
    error = np.square(two - one).sum() / np.square(one).sum()
    assert found.output_error == pytest.approx(error, rel=1e-4)
    parts = of(found, "sum").parts
    # What is the same for all samples is a shift.
    assert parts.shift == pytest.approx(parts.bias, rel=1e-4) and parts.bias > 0.01


def rows(places):
    """Two products with biases on rows of 16 features; rows stand in so many places."""
    weights = Weights(0)
    weights.keep("up.weight", weights.rng.normal(0, 0.4, (16, 32)))
    weights.keep("up.bias", weights.rng.normal(0, 0.3, 32))
    weights.keep("down.weight", weights.rng.normal(0, 0.3, (32, 16)))
    weights.keep("down.bias", weights.rng.normal(0, 0.3, 16))
    weights.keep("head.weight", weights.rng.normal(0, 0.3, (16, 5)))
    nodes = [
        node("MatMul", ["x", "up.weight"], "up.product"),
        node("Add", ["up.product", "up.bias"], "up"),
        node("Relu", ["up"], "active"),
        node("MatMul", ["active", "down.weight"], "down.product"),
        node("Add", ["down.product", "down.bias"], "down"),
        node("ReduceMean", ["down"], "mean", axes=[*range(1, 1 + len(places))], keepdims=0),
        node("MatMul", ["mean", "head.weight"], "logits"),
    ]
    given, made = value("x", FLOAT, "batch", *places, 16), value("logits", FLOAT, "batch", 5)
    return build("rows", nodes, [given], made, weights, 17)


@pytest.fixture(scope="module", params=["bias", "scaled"])
def of_rank(request, tmp_path_factory):
    """What is changed, and the diagnoses of one network with rows in one axis and in two."""
    rng = np.random.default_rng(1)
    data = [rng.normal(size=(8, 6, 6, 16)).astype(np.float32) for _ in range(3)]
    factors, off = np.exp(rng.normal(0, 1, 32)), 0.6 * np.abs(rng.normal(size=32))
    found = []
    for places in ((36,), (6, 6)):
        model = rows(places)
        plain = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        changes = {"up.bias": plain["up.bias"] + off}
        if request.param == "scaled":
            changes = {
                "up.weight": plain["up.weight"] * factors,
                "up.bias": plain["up.bias"] * factors,
                "down.weight": plain["down.weight"] / factors[:, None],
            }
        folder = tmp_path_factory.mktemp("rank")
        path = saved(model, folder / "original.onnx")
        batches = [{"x": each.reshape(8, *places, 16)} for each in data]
        case = quantized(with_constants(model, **changes), batches, folder, weights="reduced")
        found.append(diagnose(path, case.healthy, batches, pair_sums=False))
    return request.param, factors, found


def test_rows_in_two_axes_are_rows(of_rank):
    changed, factors, (one, two) = of_rank
    for layer, same in zip(two.layers, one.layers, strict=True):
        assert layer.channels == same.channels
        assert layer.added == pytest.approx(same.added, rel=0.02, abs=1e-7)
        for name, part in layer.parts:
            assert part == pytest.approx(getattr(same.parts, name), rel=0.02, abs=1e-7)
    up, down = of(two, "active"), of(two, "down")
    if changed == "bias":
        first = with_verdicts(two).verdicts[0]
        assert (first.layer, first.cause) == (up.name, "bias")
        assert up.parts.bias > 0.9 * up.added > 100 * up.parts.weights
    else:
        # What one product is scaled by the next makes up for.
        assert up.added < 1e-3
        (seen,) = [each for each in down.channels if each.axis == "activation"]
        assert seen.count == 32 and seen.worst[0] == np.argmax(factors)


def folding(fold):
    """Three products on rows [batch, 6, 16]; the second's rows are folded into the first axis."""
    weights = Weights(0)
    weights.keep("one", weights.rng.normal(0.2, 0.1, (16, 32)))
    weights.keep("two", alike(weights.rng.uniform(-0.2, 0.2, (32, 24)), 0))
    weights.keep("three", weights.rng.normal(0, 0.2, (24, 5)))
    weights.keep("flat", [-1, 32] if fold else [-1, 6, 32], np.int64)
    nodes = [
        node("MatMul", ["x", "one"], "first"),
        node("Relu", ["first"], "active"),
        node("Reshape", ["active", "flat"], "folded"),
        node("MatMul", ["folded", "two"], "second"),
        node("Relu", ["second"], "positive"),
        node("MatMul", ["positive", "three"], "logits"),
    ]
    shape = ("rows", 5) if fold else ("batch", 6, 5)
    given, made = value("x", FLOAT, "batch", 6, 16), value("logits", FLOAT, *shape)
    return build("folding", nodes, [given], made, weights, 17)


def test_saturation_where_a_reshape_folds_the_batch(tmp_path):
    rng = np.random.default_rng(0)
    batches = [{"x": rng.normal(1, 1, size=(16, 6, 16)).astype(np.float32)} for _ in range(2)]
    lost = []
    for fold in (False, True):
        folder = tmp_path / str(fold)
        folder.mkdir()
        case = quantized(folding(fold), batches, folder)
        layer = of(diagnose(case.original, case.healthy, batches, pair_sums=True), "positive")
        lost.append((layer.parts.saturation, layer.added))
    assert lost[1] == pytest.approx(lost[0], rel=1e-3)
    assert lost[0][0] > 1e-4
