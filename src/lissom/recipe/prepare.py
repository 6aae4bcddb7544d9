"""Bring any model to one ONNX file: the original that everything is compared with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lissom.model import Model
from lissom.onnx_file import TensorSpec
from lissom.recipe.run import MODEL_FILE, Built, torch_versions
from lissom.recipe.store import Store, digest
from lissom.technique import Track

NOTES = "notes.json"


@dataclass(frozen=True)
class Prepared:
    """The original as an ONNX file, and what its reader should know of the way there."""

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


def prepare(model: Model, store: Store, track: Track, *, key: str = "") -> Prepared:
    """An `.onnx` file is taken where it lies; a torch model is exported once, into the store.

    Args:
        model: what to bring to ONNX.
        store: keeps the export.
        track: shows progress.
        key: the digest of what made the model, where its own is not known or would be slow.

    Raises:
        ModelError: the model cannot be exported.
        MissingExtra: exporting needs a package that is not installed.
    """
    if model.kind == "onnx":
        assert model.path is not None
        return Prepared(Built(model.path, digest(model=model.digest())), ())
    # Imported here because it needs torch, which someone with an .onnx file need not have.
    from lissom.nn.export import export

    key = digest(step="export", model=key or model.digest(), code=torch_versions())

    def build(folder: Path) -> None:
        done = export(model, folder, track=track)
        (folder / NOTES).write_text(json.dumps(list(done.notes)), encoding="utf-8")

    folder = store.step(key, build)
    notes = tuple(json.loads((folder / NOTES).read_text(encoding="utf-8")))
    return Prepared(Built(folder / MODEL_FILE, key), notes)
