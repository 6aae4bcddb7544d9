"""Where the files lie that belong to a model: tokenizer, preprocessing, configuration."""

from __future__ import annotations

from pathlib import Path

from lissom.model import Model, transformer_folder


def folders_of(model: Model) -> list[Path]:
    """Beside the model, where its transformer lies, and above a folder called `onnx`."""
    if model.folder is None:
        return []
    folders = [model.folder, transformer_folder(model.folder)]
    return [*folders, model.folder.parent] if model.folder.name == "onnx" else folders
