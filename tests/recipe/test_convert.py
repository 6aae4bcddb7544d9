"""Files of old operator sets, of 16-bit floats, with weights among the inputs: brought to form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lissom.errors import ModelError
from lissom.graph.opset import convert_opset, is_old
from lissom.model import open_model
from lissom.onnx_file import read_onnx
from lissom.recipe.prepare import Prepared, prepare
from lissom.recipe.store import Store
from lissom.technique import silent
from tests import models
from tests.graph.small import FLAG, branching, draw, node, tensor

X = tensor("x", shape=["n", 64])
Y = tensor("y", shape=["n", 64])


def old(nodes, inputs, outputs, constants, *, opset: int = 11, ir: int = 6) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "old", inputs, outputs, tensors)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every float32 in 16 bits, ports too."""
    for stored in model.graph.initializer:
        if stored.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(stored).astype(np.float16)
            stored.CopyFrom(numpy_helper.from_array(array, stored.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.checker.check_model(model, full_check=True)
    return model


def prepared(model: onnx.ModelProto, folder: Path, **more: object) -> Prepared:
    onnx.save(model, folder / "m.onnx", **more)
    return prepare(open_model(folder / "m.onnx"), Store(folder / "store"), silent)


def run(path: Path, feeds) -> list[np.ndarray]:
    return ort.InferenceSession(path).run(None, feeds)


def test_an_old_operator_set_with_bodies_and_softmax_over_all_the_rest(tmp_path: Path) -> None:
    body = branching(
        [node("Unsqueeze", ["s"], "u", axes=[0]), node("Squeeze", ["u"], "y_then", axes=[0])],
        [node("Softmax", ["s"], "y_else")],
        "y",
    )
    for each in body.attribute:
        each.g.output[0].type.CopyFrom(Y.type)
    nodes = [node("MatMul", ["x", "w"], "m"), node("Softmax", ["m"], "s"), body]
    model = old(nodes, [X, FLAG], [Y], {"w": draw(64, 64, scale=0.1)})
    made = prepared(model, tmp_path)
    assert made.original.path == tmp_path / "m.onnx"
    assert made.built.path != made.original.path
    assert {o.version for o in onnx.load(made.built.path).opset_import} == {13}
    assert "converted from operator set 11 to 13" in made.notes[0]
    for flag in (True, False):
        feeds = {"x": draw(3, 64), "flag": np.array(flag)}
        one, other = run(made.original.path, feeds)[0], run(made.built.path, feeds)[0]
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_weights_in_external_data_do_not_pass_through_the_converter(tmp_path: Path) -> None:
    model = old([node("MatMul", ["x", "w"], "y")], [X], [Y], {"w": draw(64, 64)}, opset=9, ir=4)
    external = {"save_as_external_data": True, "size_threshold": 0, "location": "weights.bin"}
    onnx.save(model, tmp_path / "m.onnx", **external)
    converted = convert_opset(tmp_path / "m.onnx")
    assert not is_old(converted)
    assert [value.name for value in converted.graph.inputs] == ["x"]
    kept = converted.graph.initializers["w"].const_value
    assert Path(kept.path).name == "weights.bin"
    np.testing.assert_array_equal(kept.numpy(), draw(64, 64))


def test_the_oldest_files_list_their_weights_among_the_inputs(tmp_path: Path) -> None:
    inputs = [X, tensor("w", shape=[64, 64]), tensor("b", shape=[64])]
    nodes = [node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"], "y")]
    constants = {"w": draw(64, 64), "b": draw(64)}
    made = prepared(old(nodes, inputs, [Y], constants, opset=8, ir=3), tmp_path)
    assert [value.name for value in read_onnx(made.built.path).graph.inputs] == ["x"]
    newer = helper.make_model(
        helper.make_graph(
            nodes, "g", inputs, [Y], [numpy_helper.from_array(a, n) for n, a in constants.items()]
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    (tmp_path / "newer").mkdir()
    made = prepared(newer, tmp_path / "newer")
    assert "given constants for the weights that it lists among its inputs" in made.notes[0]
    assert [value.name for value in read_onnx(made.built.path).graph.inputs] == ["x"]


def test_what_the_converter_cannot_do_is_refused_with_a_way_out(tmp_path: Path) -> None:
    scan = node("Scatter", ["x", "i", "x"], "y")
    scan.op_type = "Affine"  # an experiment of early operator sets, gone since
    with pytest.raises(ModelError) as refused:
        prepared(old([scan], [X, tensor("i", 7, ["n", 64])], [Y], {}, opset=7, ir=3), tmp_path)
    assert "m.onnx" in refused.value.what
    assert "operator set 13 or newer" in (refused.value.fix or "")


def test_a_conversion_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path):
        model = convert_opset(path)
        for each in model.graph:
            each.op_type = {"Tanh": "Sigmoid"}.get(each.op_type, each.op_type)
        return model

    monkeypatch.setattr("lissom.recipe.convert.convert_opset", wrong)
    with pytest.raises(ModelError, match="cannot be converted from operator set 11 to 13: outputs"):
        prepared(old([node("Tanh", ["x"], "y")], [X], [Y], {}), tmp_path)
    assert list((tmp_path / "store" / "steps").iterdir()) == []


@pytest.mark.parametrize("name", ["mlp", "two_input", "depthwise"])
def test_half_precision_is_widened_behind_the_same_ports(tmp_path: Path, name: str) -> None:
    model = halved(getattr(models, name)())
    feeds = {
        key: array.astype(np.float16) if array.dtype == np.float32 else array
        for key, array in models.feeds(model, 4).items()
    }
    made = prepared(model, tmp_path)
    wide = onnx.load(made.built.path)
    assert {each.data_type for each in wide.graph.initializer} <= {1, 7}
    assert [v.type.tensor_type.elem_type for v in wide.graph.output] == [TensorProto.FLOAT16]
    truth, found = run(made.original.path, feeds)[0], run(made.built.path, feeds)[0]
    assert found.dtype == np.float16
    assert np.abs(truth - found).max() <= 0.01 * np.abs(truth).max()
    assert "widened from 16-bit floats" in made.notes[0]
    onnx.checker.check_model(wide, full_check=True)


def test_half_precision_in_a_loop_and_behind_casts(tmp_path: Path) -> None:
    half, weight = TensorProto.FLOAT16, draw(64, 64, scale=0.1).astype(np.float16)
    added = numpy_helper.from_array(np.full(64, 0.5, np.float16))
    body = helper.make_graph(
        [
            node("Constant", [], "one", value=added),
            node("MatMul", ["state", "w"], "product"),
            node("Add", ["product", "one"], "next"),
            node("Identity", ["go"], "again"),
        ],
        "body",
        [
            tensor("step", TensorProto.INT64, []),
            tensor("go", TensorProto.BOOL, []),
            tensor("state", half, ["n", 64]),
        ],
        [tensor("again", TensorProto.BOOL, []), tensor("next", half, ["n", 64])],
    )
    nodes = [
        node("Cast", ["x"], "narrow", to=half),
        node("Loop", ["times", "", "narrow"], "looped", body=body),
        node("Cast", ["looped"], "y", to=TensorProto.FLOAT),
    ]
    model = old(nodes, [X], [Y], {"w": weight, "times": np.array(2)}, opset=17, ir=8)
    made = prepared(model, tmp_path)
    feeds = {"x": draw(5, 64)}
    truth, found = run(made.original.path, feeds)[0], run(made.built.path, feeds)[0]
    assert np.abs(truth - found).max() <= 0.01 * np.abs(truth).max()
    assert not any(t.data_type == half for t in onnx.load(made.built.path).graph.initializer)


def test_a_new_file_in_float32_is_taken_as_it_is(tmp_path: Path) -> None:
    made = prepared(models.mlp(opset=13), tmp_path)
    assert made.built == made.original
    assert made.notes == ()
