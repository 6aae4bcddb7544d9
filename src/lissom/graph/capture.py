"""Watch the tensors inside a graph while it runs: one batch in memory at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx_ir.external_data import convert_tensors_from_external

from lissom.onnx_file import INLINE_LIMIT, write_onnx
from lissom.sessions import SESSION_ERRORS, failed_batch, open_session, refusal, session_options

Arrays = Mapping[str, NDArray[Any]]

# What has fewer bytes stays in the graph: shapes and axes, of which the runtime infers shapes.
SMALL = 1024


def capture(
    model: ir.Model,
    tensors: Sequence[str],
    batches: Iterable[Arrays],
    *,
    threads: int = 1,
    inline_limit: int = INLINE_LIMIT,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the named tensors for every batch, as the float graph computes them.

    A name is that of a graph input or of a value computed in the main graph. The runtime is lent
    the weights, be they more than a protobuf can hold; only if those it cannot be lent (in
    branches, or of types that numpy lacks) exceed `inline_limit` bytes is the model written, to a
    temporary folder.

    Raises:
        ModelError: the runtime refuses the graph.
        RunError: it cannot be run on a batch.
    """
    wanted = list(dict.fromkeys(tensors))
    inputs = [value.name for value in model.graph.inputs if value.name]
    given = [name for name in wanted if name in inputs]
    computed = [name for name in wanted if name not in inputs]
    # These arrays have to live as long as the session.
    shared = _shared_weights(model)
    session = _open(_returning(model, computed), shared, threads, inline_limit)
    for batch in batches:
        feeds = {name: batch[name] for name in inputs if name in batch}
        try:
            # Asking for no output would compute all of them.
            arrays = session.run(computed, feeds) if computed else []
        except (*SESSION_ERRORS, MemoryError) as error:
            raise failed_batch(error, feeds, "the model", "the calibration data") from None
        found = dict(zip(computed, arrays, strict=True))
        found |= {name: batch[name] for name in given}
        # Whoever empties what is yielded frees it before the next batch is computed.
        del arrays
        yield found


def _shared_weights(model: ir.Model) -> dict[str, ort.OrtValue]:
    """The weights that a session can be lent, by name: those numpy has a type for."""
    inputs = {value.name for value in model.graph.inputs}
    found: dict[str, ort.OrtValue] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        # The runtime drops what no node reads, and refuses to be lent it.
        if tensor is None or tensor.nbytes < SMALL or name in inputs or not value.uses():
            continue
        if tensor.dtype.numpy().isbuiltin == 1:
            found[name] = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tensor.numpy()))
    return found


def _open(
    model: ir.Model, shared: Mapping[str, ort.OrtValue], threads: int, inline_limit: int
) -> ort.InferenceSession:
    """Open a graph and lend it the shared weights, which are taken out of it."""
    lent = [model.graph.initializers[name] for name in shared]
    known = set(lent)
    weights = (value for graph in model.graphs() for value in graph.initializers.values())
    rest = [value for value in weights if value not in known]
    sizes = (value.const_value.nbytes for value in rest if value.const_value is not None)
    if sum(sizes) > inline_limit:
        with tempfile.TemporaryDirectory(prefix="lissom-capture-") as folder:
            path = Path(folder) / "model.onnx"
            write_onnx(model, path, inline_limit=inline_limit)
            return open_session(path, threads=threads)
    for value in rest:
        # A graph in memory has no folder where the runtime would look for files.
        if isinstance(value.const_value, ir.ExternalTensor):
            (value.const_value,) = convert_tensors_from_external([value.const_value])
    for value in lent:
        tensor = value.const_value
        assert tensor is not None
        shape = ir.Shape(tensor.shape.numpy())
        # The runtime accepts arrays in place of weights that the graph says are in a file.
        value.const_value = ir.ExternalTensor(
            "lent", 0, tensor.nbytes, tensor.dtype, shape=shape, name=value.name or ""
        )
    options = session_options(threads)
    # A pattern, learnt from the first batch, would be memory anew for all that the second computes.
    options.enable_mem_pattern = False
    options.add_external_initializers(list(shared), list(shared.values()))
    try:
        return ort.InferenceSession(
            ir.serde.serialize_model(model).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
    except SESSION_ERRORS as error:
        raise refusal(error, "calibration") from None


def _returning(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy of a model that returns more of what it computes."""
    watched = model.clone()
    known = {value.name: value for node in watched.graph for value in node.outputs}
    returned = {value.name for value in watched.graph.outputs}
    watched.graph.outputs.extend(known[name] for name in names if name not in returned)
    return watched
