"""ONNX Runtime on this machine's CPU: its version, and what it computes exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from lissom.sessions import session_options
from lissom.targets.machine import Machine, this_machine


@dataclass(frozen=True)
class OnnxRuntime:
    """The runtime and the machine it is on."""

    machine: Machine
    version: str
    exact_weight_bits: int

    name = "onnxruntime"


@cache
def onnxruntime_target() -> OnnxRuntime:
    """This machine's ONNX Runtime, with the width of weights it computes exactly."""
    return OnnxRuntime(
        machine=this_machine(),
        version=ort.__version__,
        exact_weight_bits=7 if kernels_saturate() else 8,
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
