"""Sessions of ONNX Runtime: the options every file is run with, and its refusals in words."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from lissom.errors import LissomError, ModelError

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


def session_options(
    threads: int = 1, *, optimize: bool = True, exact: bool = False
) -> ort.SessionOptions:
    """The options every lissom session has, so that all files are compared alike.

    With `exact`, products of 8-bit integers are added in 32 bits on every machine, which is slower.
    """
    options = ort.SessionOptions()
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def open_session(
    path: Path | str, *, threads: int = 1, optimize: bool = True, exact: bool = False
) -> ort.InferenceSession:
    """Open a model file for the CPU; without `optimize` every node runs as it is written.

    See `session_options` for `exact`.

    Raises:
        ModelError: the runtime refuses the file; its reason is in the message.
    """
    try:
        return ort.InferenceSession(
            _unshared(path) if exact else str(path),
            session_options(threads, optimize=optimize, exact=exact),
            providers=["CPUExecutionProvider"],
        )
    except SESSION_ERRORS as error:
        raise refusal(error, path) from None


def _unshared(path: Path | str) -> bytes:
    """The file with a copy of its int8 weights for each reader.

    ONNX Runtime 1.31.1 fails to open a file with shared ones when its sums must be exact.
    """
    model = onnx.load(path)
    weights = {w.name: w for w in model.graph.initializer if w.data_type == TensorProto.INT8}
    seen: set[str] = set()
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name not in weights:
                continue
            if name in seen:
                copy = model.graph.initializer.add()
                copy.CopyFrom(weights[name])
                copy.name = f"{name}/{node.output[0]}/{index}"
                node.input[index] = copy.name
            seen.add(name)
    return bytes(model.SerializeToString())


def refusal(error: Exception, path: Path | str) -> LissomError:
    """ONNX Runtime's reason, in words that say what to do."""
    reason = str(error).split(" : ", 2)[-1].strip().partition("\n")[0]
    unknown = ("not a registered function/op", "No Op registered for")
    if isinstance(error, ort_errors.NotImplemented) or any(words in reason for words in unknown):
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
