"""ONNX Runtime on this machine's CPU: what it can run, what it computes exactly, how to open it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from lissom.errors import LissomError, ModelError
from lissom.targets.machine import Machine, this_machine

# What session creation raises for a file a user can have: not found, not a graph, no kernel.
SESSION_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


@dataclass(frozen=True)
class OnnxRuntime:
    """The runtime and the machine it is on."""

    machine: Machine
    version: str
    exact_weight_bits: int

    name = "onnxruntime"

    def session(self, path: Path | str, *, threads: int = 1) -> ort.InferenceSession:
        """Open a model file with lissom's session options.

        Raises:
            ModelError: the runtime refuses the file; its reason is in the message.
        """
        return open_session(path, threads=threads)


@cache
def onnxruntime_target() -> OnnxRuntime:
    """This machine's ONNX Runtime, with the width of weights it computes exactly."""
    return OnnxRuntime(
        machine=this_machine(),
        version=ort.__version__,
        exact_weight_bits=7 if kernels_saturate() else 8,
    )


def session_options(threads: int = 1, *, optimize: bool = True) -> ort.SessionOptions:
    """The options every lissom session has, so that all files are compared alike."""
    options = ort.SessionOptions()
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def open_session(
    path: Path | str, *, threads: int = 1, optimize: bool = True
) -> ort.InferenceSession:
    """Open a model file for the CPU; without `optimize` every node runs as it is written.

    Raises:
        ModelError: the runtime refuses the file; its reason is in the message.
    """
    try:
        return ort.InferenceSession(
            str(path),
            session_options(threads, optimize=optimize),
            providers=["CPUExecutionProvider"],
        )
    except SESSION_ERRORS as error:
        raise refusal(error, path) from None


def refusal(error: Exception, path: Path | str) -> LissomError:
    """ONNX Runtime's reason, in words that say what to do."""
    reason = str(error).split(" : ", 2)[-1].strip().partition("\n")[0]
    if isinstance(error, ort_errors.NotImplemented) or "not a registered function/op" in reason:
        return ModelError(
            f"ONNX Runtime {ort.__version__} has no kernel for an operator of this model: {reason}",
            where=str(path),
            fix="export it with standard operators, or use a runtime that has the operator",
        )
    return ModelError(
        f"ONNX Runtime {ort.__version__} refuses the model: {reason}",
        where=str(path),
        fix="check the file with onnx.checker.check_model, or export it again",
    )


@cache
def kernels_saturate() -> bool:
    """Whether unsigned x signed 8-bit kernels on this machine give wrong sums, by trying.

    On x86 without VNNI the kernel multiplies unsigned activations by signed weights and adds
    adjacent pairs of products in 16 bits, so 255 * 127 twice overflows. The answer comes from
    running such a product, not from a list of processors.
    """
    rows, depth, columns = 4, 64, 32
    activations = np.full((rows, depth), 255, np.uint8)
    weights = np.full((depth, columns), 127, np.int8)
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph(
        [node],
        "saturation_probe",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, depth])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [rows, columns])],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"a": activations})
    return not np.array_equal(result, activations.astype(np.int32) @ weights.astype(np.int32))
