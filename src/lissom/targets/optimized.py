"""The graph that ONNX Runtime makes of a file on this CPU, written out to be read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime as ort

from lissom.errors import FolderError
from lissom.onnx_file import files_of
from lissom.sessions import SESSION_ERRORS, refusal, session_options


@contextmanager
def optimized(path: Path | str, *, layouts: bool = False) -> Iterator[Path]:
    """The optimized graph as a file that is gone afterwards, large weights in another beside it.

    It is the graph before layouts are chosen (level EXTENDED): what comes after turns kernels
    into others of the same kind, under new names. With `layouts` it is what really runs.

    Raises:
        ModelError: the file is no ONNX model, or the runtime refuses it.
        FolderError: there is no room for the optimized graph in the temporary folder.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="lissom-optimized-") as folder:
        _check_room(path, Path(folder))
        options = session_options()
        if not layouts:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        target = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(target)
        # Weights beside the graph: a protobuf ends at 2 GB.
        entry = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(f"{entry}file_name", "weights.bin")
        options.add_session_config_entry(f"{entry}min_size_in_bytes", "1024")
        try:
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except SESSION_ERRORS as error:
            raise refusal(error, path) from None
        yield target


def _check_room(path: Path, folder: Path) -> None:
    needed = 2 * sum(file.stat().st_size for file in files_of(path))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FolderError(
            f"the optimized graph needs {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free",
            where=str(folder),
            fix="free some space, or set TMPDIR to a folder on another disk",
        )
