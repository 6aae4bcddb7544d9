"""Where the error of a file is measured: at its outputs, or at what these are made of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lissom.arrays import Batch
from lissom.errors import ModelError
from lissom.graph.compared import compared
from lissom.graph.ending import end_at, ends_within
from lissom.onnx_file import read_onnx, write_onnx
from lissom.quantize.output_error import RelativeError
from lissom.recipe.run import MODEL_FILE, Built, versions
from lissom.recipe.store import Store, digest
from lissom.sessions import tensors
from lissom.targets.target import Opener


def comparable(built: Built, store: Store) -> Built:
    """A network up to where errors can be measured: of those before a label it tells hardly any.

    Args:
        built: a float network.
        store: keeps the file where it ends earlier.

    Raises:
        ModelError: there is no such place.
    """
    model = read_onnx(built.path, check_weights=False)
    names = compared(model)
    if not names:
        raise ModelError(
            "no output to measure an error at: none holds floats, and as many in every run, nor is "
            "made of such",
            where=str(built.path),
            fix="end the graph at what the weights compute: in front of an ArgMax, for one",
        )
    if set(names) <= {value.name for value in model.graph.outputs}:
        return built
    key = digest(step="ends", parent=built.key, code=versions())

    def build(folder: Path) -> None:
        end_at(model, names)
        write_onnx(model, folder / MODEL_FILE)

    return Built(store.step(key, build) / MODEL_FILE, key)


def file_error(
    open_file: Opener, original: Path, built: Path, batches: Iterable[Batch]
) -> float | None:
    """Mean square of what a file's outputs are off, over their mean square; the worst output's.

    Args:
        open_file: opens both in the runtime that the file is for.
        original: the float network.
        built: the compressed one.
        batches: inputs of both.

    Returns:
        None where there is nothing to compare: labels, and what they are made of has another name.

    Raises:
        ModelError, RunError: the runtime cannot run one of them.
    """
    names = compared(read_onnx(original, check_weights=False))
    with _giving(original, names) as first, _giving(built, names) as second:
        if first is None or second is None:
            return None
        truth, other = open_file(first), open_file(second)
        sums = {name: RelativeError() for name in names}
        for batch in batches:
            exact = tensors(truth.outputs, truth(batch))
            found = tensors(other.outputs, other(batch))
            for name, each in sums.items():
                each.add(exact[name], found[name])
    return max((each.relative for each in sums.values() if each.count), default=None)


@contextmanager
def _giving(path: Path, names: Sequence[str]) -> Iterator[Path | None]:
    """A file that gives these tensors, for a while; None where the graph has none of that name."""
    model = read_onnx(path, check_weights=False)
    if set(names) <= {value.name for value in model.graph.outputs}:
        yield path if names else None
    elif not ends_within(model, names):
        yield None
    else:
        with tempfile.TemporaryDirectory(prefix="lissom-ends-") as folder:
            end_at(model, names)
            write_onnx(model, Path(folder) / MODEL_FILE)
            yield Path(folder) / MODEL_FILE
