"""Watch the tensors inside a graph while it runs: one batch in memory at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from lissom.onnx_file import write_onnx
from lissom.sessions import SESSION_ERRORS, open_session, refusal

Arrays = Mapping[str, NDArray[Any]]


def capture(
    model: ir.Model, tensors: Sequence[str], batches: Iterable[Arrays], *, threads: int = 1
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the named tensors for every batch, as the float graph computes them.

    A name is that of a graph input or of a value computed in the main graph.

    Raises:
        ModelError: the runtime refuses the graph or a batch.
    """
    wanted = list(dict.fromkeys(tensors))
    inputs = [value.name for value in model.graph.inputs if value.name]
    given = [name for name in wanted if name in inputs]
    computed = [name for name in wanted if name not in inputs]
    with tempfile.TemporaryDirectory(prefix="lissom-capture-") as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(_returning(model, computed), path)
        session = open_session(path, threads=threads)
        for batch in batches:
            feeds = {name: batch[name] for name in inputs if name in batch}
            try:
                # Asking for no output would compute all of them.
                arrays = session.run(computed, feeds) if computed else []
            except SESSION_ERRORS as error:
                raise refusal(error, "the calibration data") from None
            found = dict(zip(computed, arrays, strict=True))
            found |= {name: batch[name] for name in given}
            # Whoever empties what is yielded frees it before the next batch is computed.
            del arrays
            yield found


def _returning(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy of a model that returns more of what it computes."""
    watched = model.clone()
    known = {value.name: value for node in watched.graph for value in node.outputs}
    returned = {value.name for value in watched.graph.outputs}
    watched.graph.outputs.extend(known[name] for name in names if name not in returned)
    return watched
