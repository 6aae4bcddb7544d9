from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from lissom.errors import ModelError
from lissom.sessions import open_session, session_options
from lissom.targets import onnxruntime as target
from lissom.targets.machine import this_machine
from lissom.targets.onnxruntime import kernels_saturate, onnxruntime_target
from tests import models
from tests.graph.small import node, opened, proto, run, tensor


def worst_sums(weight: int) -> np.ndarray:
    """Sums of 255 times the same weight, by the runtime."""
    a = tensor("a", TensorProto.UINT8, [5, 48])
    y = tensor("y", TensorProto.INT32, [5, 16])
    weights = {"b": np.full((48, 16), weight, np.int8)}
    model = opened([node("MatMulInteger", ["a", "b"], "y")], [a], [y], weights, opset=21)
    return run(model, {"a": np.full((5, 48), 255, np.uint8)})[0]


def test_the_probe_says_whether_sums_are_wrong():
    exact = (worst_sums(127) == 48 * 255 * 127).all()
    assert kernels_saturate() == (not exact)
    assert onnxruntime_target().pair_sums == (not exact)


def test_weights_as_wide_as_the_target_says_are_summed_exactly():
    largest = 64 if onnxruntime_target().pair_sums else 127
    for weight in (largest, -largest):
        np.testing.assert_array_equal(worst_sums(weight), 48 * 255 * weight)


def test_seven_bits_are_exact_everywhere():
    for weight in (63, -63):
        np.testing.assert_array_equal(worst_sums(weight), 48 * 255 * weight)


@pytest.mark.parametrize(("wrong", "saturates"), [(0, False), (-1, True)])
def test_a_kernel_that_adds_wrongly_is_found_out(monkeypatch, wrong, saturates):
    class Session:
        def __init__(self, model, *arguments, **more):
            (b,) = onnx.load_from_string(model).graph.initializer
            self.weights = onnx.numpy_helper.to_array(b).astype(np.int32)

        def run(self, names, feeds):
            sums = feeds["a"].astype(np.int32) @ self.weights
            sums[-1, -1] += wrong
            return [sums]

    monkeypatch.setattr(target.ort, "InferenceSession", Session)
    kernels_saturate.cache_clear()
    onnxruntime_target.cache_clear()
    try:
        assert kernels_saturate() is saturates
        assert onnxruntime_target().pair_sums is saturates
    finally:
        kernels_saturate.cache_clear()
        onnxruntime_target.cache_clear()


def test_the_target_knows_where_it_is():
    found = onnxruntime_target()
    assert found.name == "onnxruntime"
    assert found.version == ort.__version__
    assert found.machine == this_machine()


def test_sessions_run_on_the_cpu_with_the_threads_asked_for(mlp_onnx):
    session = open_session(mlp_onnx, threads=2)
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 2
    feeds = models.feeds(models.mlp())
    np.testing.assert_array_equal(session.run(None, feeds)[0], run(models.mlp(), feeds)[0])


def test_without_optimization_every_node_runs_as_written():
    off = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert session_options(optimize=False).graph_optimization_level == off
    assert session_options().graph_optimization_level != off


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"missing\.onnx") as caught:
        open_session(tmp_path / "missing.onnx")
    assert "missing.onnx" in caught.value.where


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    with pytest.raises(ModelError, match="refuses the model"):
        open_session(path)


def test_an_operator_the_runtime_lacks(tmp_path):
    nodes = [helper.make_node("Wish", ["x"], ["y"], domain="com.microsoft")]
    x, y = tensor("x", shape=[1]), tensor("y", shape=[1])
    model = proto(nodes, [x], [y], check=False)
    with pytest.raises(ModelError, match="no kernel for an operator.*Wish") as caught:
        open_session(models.saved(model, tmp_path / "wish.onnx"))
    assert "export" in caught.value.fix


def test_a_type_the_runtime_has_no_kernel_for(tmp_path):
    x, y = (tensor(name, TensorProto.BFLOAT16, [2, 2]) for name in "xy")
    model = proto([node("Det", ["x"], "y")], [x], [y], opset=21, check=False)
    with pytest.raises(ModelError):
        open_session(models.saved(model, tmp_path / "bfloat.onnx"))
