"""What is said when ONNX Runtime cannot run a file: the operator, the inputs, and what to give."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lissom.errors import ModelError
from lissom.recipe.convert import convert
from lissom.sessions import reason, run_once, tensors
from tests.models import node, saved, value


def lookup(path: Path, *shape: int | str, opset: int = 17) -> Path:
    """Rows of a table of 4, by an index 10 too high."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [4, 2], [0.5] * 8)
    offset = helper.make_tensor("offset", TensorProto.INT64, [], [10])
    graph = helper.make_graph(
        [node("Add", ["ids", "offset"], "at"), node("Gather", ["table", "at"], "rows")],
        "lookup",
        [value("ids", TensorProto.INT64, *shape)],
        [value("rows", TensorProto.FLOAT, *shape, 2)],
        [table, offset],
    )
    opsets = [helper.make_opsetid("", opset)]
    return saved(helper.make_model(graph, opset_imports=opsets, ir_version=7), path)


def test_a_failing_operator_is_named_with_its_reason_and_no_code(tmp_path):
    path = lookup(tmp_path / "lookup.onnx", "batch", 3)
    with pytest.raises(ModelError) as error:
        run_once(path, {"ids": np.zeros((1, 3), np.int64)})
    assert "its operator Gather" in error.value.what
    assert "idx=10 must be within the inclusive range [-4,3]" in error.value.what
    assert "ONNXRuntimeError" not in str(error.value)
    assert "Non-zero status" not in str(error.value)
    assert error.value.where == f"{path}, with ids [1, 3]"


def test_free_sizes_are_asked_for_by_their_names(tmp_path):
    path = lookup(tmp_path / "lookup.onnx", "batch", 3)
    with pytest.raises(ModelError) as error:
        run_once(path, {"ids": np.zeros((1, 3), np.int64)})
    assert "--shape ids=batchx3, a number for each word" in error.value.fix
    assert "--task arrays:FILE.npz" in error.value.fix


def test_where_every_size_is_fixed_only_values_are_asked_for(tmp_path):
    path = lookup(tmp_path / "lookup.onnx", 1, 3)
    with pytest.raises(ModelError) as error:
        run_once(path, {"ids": np.zeros((1, 3), np.int64)})
    assert "--shape" not in error.value.fix
    assert "--task arrays:FILE.npz" in error.value.fix


def test_a_file_to_convert_that_does_not_run_is_told_alike(tmp_path):
    path = lookup(tmp_path / "old.onnx", "batch", 3, opset=11)
    with pytest.raises(ModelError, match="its operator Gather") as error:
        convert(path, tmp_path / "new.onnx", lambda: {"ids": np.zeros((1, 3), np.int64)})
    assert "once it is converted" not in error.value.what
    assert "--shape ids=batchx3" in error.value.fix


def test_a_refused_wrong_size_keeps_what_was_expected(tmp_path):
    path = lookup(tmp_path / "lookup.onnx", "batch", 3)
    with pytest.raises(ModelError) as error:
        run_once(path, {"ids": np.zeros((1, 5), np.int64)})
    assert "Got: 5 Expected: 3" in error.value.what
    assert "Please fix" not in error.value.what


def test_of_operators_inside_each_other_the_innermost_is_named():
    said = (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running If node. "
        "Name:'If_0' Status Message: Non-zero status code returned while running LSTM node. "
        "Name:'If_0/rnn' Status Message: Input initial_h must have shape {1,1,128}."
    )
    assert reason(RuntimeError(said)) == (
        "its operator LSTM 'If_0/rnn' fails: Input initial_h must have shape {1,1,128}."
    )


def test_scores_by_class_are_a_table_and_other_sequences_are_left_out():
    found = tensors(
        ["label", "scores", "ragged", "texts", "none"],
        [
            np.zeros(2, np.int64),
            [{3: 0.25, 7: 0.75}, {3: 1.0, 7: 0.0}],
            [{3: 0.25}, {7: 0.75}],
            [{3: "a"}, {3: "b"}],
            [],
        ],
    )
    assert list(found) == ["label", "scores"]
    assert found["scores"].dtype == np.float32
    assert found["scores"].tolist() == [[0.25, 0.75], [1.0, 0.0]]


def test_a_refusal_to_load_says_why_and_not_where_in_the_runtimes_source(tmp_path):
    path = lookup(tmp_path / "new.onnx", 1, 3)
    model = onnx.load(path)
    model.ir_version = 99
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="refuses the model: Unsupported model IR version: 99"):
        run_once(path, {"ids": np.zeros((1, 3), np.int64)})
