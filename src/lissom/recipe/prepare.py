"""Bring any model to one ONNX file: the original that everything is compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lissom.arrays import Batch
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Settings
from lissom.model import Model
from lissom.onnx_file import TensorSpec, inputs_of, read_onnx
from lissom.recipe.convert import convert, needs_converting
from lissom.recipe.run import MODEL_FILE, Built, torch_versions, versions
from lissom.recipe.store import Store, digest
from lissom.technique import Track

NOTES = "notes.json"


@dataclass(frozen=True)
class Prepared:
    """The original as an ONNX file, and what its reader should know of the way there.

    Attributes:
        original: what everything is compared with: the user's own file where there is one.
        built: what the first step starts from.
        notes: sentences.
    """

    original: Built
    built: Built
    notes: tuple[str, ...]


def declared_inputs(model: Model) -> tuple[TensorSpec, ...]:
    """What a torch model takes, known before it is exported; sizes are left open.

    Raises:
        ModelError: the network cannot be built.
    """
    from lissom.nn.export import network_of

    return tuple(
        TensorSpec(name, str(tensor.dtype).removeprefix("torch."), (None,) * tensor.ndim)
        for name, tensor in network_of(model).inputs.items()
    )


def example_feeds_of(path: Path) -> Batch:
    """Made-up inputs for a file, at the sizes that are timed where nobody asks for others.

    Raises:
        ModelError: an input is of a type that cannot be made up.
    """
    return example_feeds(inputs_of(path), Settings())


def prepare(
    model: Model,
    store: Store,
    track: Track,
    *,
    key: str = "",
    feeds: Callable[[Path], Batch] = example_feeds_of,
) -> Prepared:
    """An `.onnx` file is taken where it lies; a torch model is exported once, into the store.

    A file of an old operator set, or of 16-bit floats, is converted into the store.

    Args:
        model: what to bring to ONNX.
        store: keeps the export.
        track: shows progress.
        key: the digest of what made the model, where its own is not known or would be slow.
        feeds: makes inputs for a file, with which a converted one is verified.

    Raises:
        ModelError: the model cannot be exported or converted.
        MissingExtra: exporting needs a package that is not installed.
    """
    if model.kind == "onnx":
        assert model.path is not None
        return _from_file(model.path, digest(model=model.digest()), store, feeds)
    # Imported here because it needs torch, which someone with an .onnx file need not have.
    from lissom.nn.export import export

    key = digest(step="export", model=key or model.digest(), code=torch_versions())

    def build(folder: Path) -> None:
        done = export(model, folder, track=track)
        (folder / NOTES).write_text(json.dumps(list(done.notes)), encoding="utf-8")

    built, notes = _kept(store, key, build)
    return Prepared(built, built, notes)


def _from_file(path: Path, key: str, store: Store, feeds: Callable[[Path], Batch]) -> Prepared:
    """A file of the user's, and what techniques start from: itself, or what it is converted to."""
    original = Built(path, key)
    if not needs_converting(read_onnx(path, check_weights=False)):
        return Prepared(original, original, ())

    def build(folder: Path) -> None:
        notes = convert(path, folder / MODEL_FILE, lambda: feeds(path))
        (folder / NOTES).write_text(json.dumps(notes), encoding="utf-8")

    built, notes = _kept(store, digest(step="convert", model=key, code=versions()), build)
    return Prepared(original, built, notes)


def _kept(store: Store, key: str, build: Callable[[Path], None]) -> tuple[Built, tuple[str, ...]]:
    folder = store.step(key, build)
    notes = tuple(json.loads((folder / NOTES).read_text(encoding="utf-8")))
    return Built(folder / MODEL_FILE, key), notes
