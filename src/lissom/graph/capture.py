"""Watch the tensors inside a graph while it runs: one batch in memory at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from lissom.onnx_file import write_onnx
from lissom.targets.onnxruntime import open_session

Arrays = Mapping[str, NDArray[Any]]


def capture(
    model: ir.Model, tensors: Sequence[str], batches: Iterable[Arrays], *, threads: int = 1
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the named tensors for every batch, as the float graph computes them.

    Raises:
        ModelError: the runtime refuses the graph.
    """
    wanted = list(dict.fromkeys(tensors))
    inputs = {value.name for value in model.graph.inputs}
    computed = [name for name in wanted if name not in inputs]
    watched = model.clone()
    known = {v.name: v for node in watched.graph for v in node.outputs}
    returned = {value.name for value in watched.graph.outputs}
    watched.graph.outputs.extend(known[name] for name in computed if name not in returned)
    with tempfile.TemporaryDirectory(prefix="lissom-capture-") as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(watched, path)
        session = open_session(path, threads=threads)
        for batch in batches:
            feeds = {name: batch[name] for name in inputs if name in batch}
            found = dict(zip(computed, session.run(computed, feeds), strict=True)) if computed else {}
            found.update({name: batch[name] for name in wanted if name in inputs})
            yield found
