"""Sessions of ONNX Runtime: the options every file is run with, and its refusals in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from lissom.errors import LissomError, ModelError, RunError
from lissom.failures import cannot_run, cannot_run_batch, is_memory, no_memory

TITLE = "ONNX Runtime"
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
# Its messages begin with a code, and those of a kernel with the place in its source.
CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
KERNEL = re.compile(
    r"running (?P<kind>\w+) node\. Name:'(?P<name>[^']*)' Status Message: "
    r"(?P<why>(?:(?!Non-zero status).)*)"
)
LOADING = re.compile(r"^Load model from .*? failed: ?")
SOURCE = re.compile(r"^\S+\.(?:h|cc|cpp):\d+ (?:.*?onnxruntime::.*?\)(?: const)? |\w+ )?")


def session_options(
    threads: int = 1, *, optimize: bool = True, exact: bool = False, in_turns: bool = False
) -> ort.SessionOptions:
    """The options every lissom session has, so that all files are compared alike.

    With `exact`, products of 8-bit integers are added in 32 bits on every machine, which is slower.
    With `in_turns`, a session's threads rest as soon as its run is over.
    """
    options = ort.SessionOptions()
    if in_turns:
        # Otherwise the pool of the session that just ran spins on the cores that the next needs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def open_session(
    path: Path | str,
    *,
    threads: int = 1,
    optimize: bool = True,
    exact: bool = False,
    in_turns: bool = False,
) -> ort.InferenceSession:
    """Open a model file for the CPU; without `optimize` every node runs as it is written.

    See `session_options` for `exact` and `in_turns`.

    Raises:
        ModelError: the runtime refuses the file; its reason is in the message.
    """
    options = session_options(threads, optimize=optimize, exact=exact, in_turns=in_turns)
    if exact:
        find_external_data(options, path)
    try:
        return ort.InferenceSession(
            _unshared(path) if exact else str(path), options, providers=["CPUExecutionProvider"]
        )
    except SESSION_ERRORS as error:
        raise refusal(error, path) from None


def run_once(path: Path | str, feeds: Mapping[str, np.ndarray]) -> list[Any]:
    """The outputs of a file for one set of inputs.

    Raises:
        ModelError: the runtime refuses the file, or cannot run it on these inputs.
        RunError: there is not enough memory.
    """
    session = open_session(path)
    try:
        return list(session.run(None, dict(feeds)))
    except (*SESSION_ERRORS, MemoryError) as error:
        raise failed_run(error, session, feeds, path) from None


def find_external_data(options: ort.SessionOptions, path: Path | str) -> None:
    """Let a session that is opened from bytes find the weights that lie beside the file."""
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(Path(path).absolute().parent)
    )


def _unshared(path: Path | str) -> bytes:
    """The file with a copy of its int8 weights for each reader; what is external stays outside.

    ONNX Runtime 1.31.1 fails to open a file with shared ones when its sums must be exact.
    """
    model = onnx.load(path, load_external_data=False)
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
    if is_memory(error):
        return no_memory(f"{TITLE} {ort.__version__}", path)
    said = CODE.sub("", str(error)).strip().partition("\n")[0]
    said = SOURCE.sub("", LOADING.sub("", said))
    unknown = ("not a registered function/op", "No Op registered for")
    if isinstance(error, ort_errors.NotImplemented) or any(words in said for words in unknown):
        return ModelError(
            f"ONNX Runtime {ort.__version__} has no kernel for an operator of this model: {said}",
            where=str(path),
            fix="export it with standard operators, or use a runtime that has the operator",
        )
    return ModelError(
        f"ONNX Runtime {ort.__version__} refuses the model: {said}",
        where=str(path),
        fix="check the file with onnx.checker.check_model, or export it again",
    )


def failed_run(
    error: BaseException,
    session: ort.InferenceSession,
    feeds: Mapping[str, np.ndarray],
    path: Path | str,
) -> LissomError:
    """Why a run failed, in words that say which inputs to give another size or other values."""
    return cannot_run(error, reason(error), session.get_inputs(), feeds, path, TITLE)


def failed_batch(
    error: BaseException, batch: Mapping[str, np.ndarray], name: str, where: Path | str
) -> RunError:
    """Why a model called `name` failed on a batch of the user's data, which are `where`."""
    return cannot_run_batch(error, reason(error), batch, name, where, TITLE)


def reason(error: BaseException) -> str:
    """Why a run failed: which operator, and what it says; without codes and places in a source."""
    said = CODE.sub("", " ".join(str(error).split()))
    # An operator in the body of an If tells of itself inside what the If says.
    *_, kernel = (None, *KERNEL.finditer(said))
    if kernel is not None:
        name = f" {kernel['name']!r}" if kernel["name"] else ""
        said = f"its operator {kernel['kind']}{name} fails: {SOURCE.sub('', kernel['why'])}"
    return said.partition(" Please fix")[0]


def tensors(names: Sequence[str], outputs: Sequence[Any]) -> dict[str, np.ndarray]:
    """What is a tensor among outputs, by name, and scores by class as a table of them.

    scikit-learn's exporter gives probabilities as a dict for each sample (ZipMap), its keys in the
    order of the classes: (samples, classes) float32. Other sequences and maps are left out.
    """
    found = {}
    for name, output in zip(names, outputs, strict=True):
        table = _scores(output)
        if hasattr(output, "dtype"):
            found[name] = output
        elif table is not None:
            found[name] = table
    return found


def _scores(output: Any) -> np.ndarray | None:
    """A list of dicts with the same keys and floats as a table, None for anything else."""
    if not isinstance(output, list) or not output or not all(type(r) is dict for r in output):
        return None
    first = list(output[0])
    alike = all(list(row) == first for row in output)
    if not first or not alike or not all(type(v) is float for r in output for v in r.values()):
        return None
    return np.array([list(row.values()) for row in output], np.float32)
