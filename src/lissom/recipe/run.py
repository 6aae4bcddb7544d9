"""Run a recipe on an ONNX file, step by step, each result kept in the store."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

import numpy
import onnx_ir
import onnxruntime

from lissom.code_version import code_version
from lissom.errors import LissomError, ModelError, RequestError
from lissom.onnx_file import read_onnx, write_onnx
from lissom.recipe.following import told
from lissom.recipe.schema import Recipe
from lissom.recipe.store import Store, digest
from lissom.sessions import open_session
from lissom.technique import Config, Context, Technique, find_technique

# What the user should read beside a step's result.
NOTES = "notes.json"
MODEL_FILE = "model.onnx"
# What decides what a torch network computes and how it is written as a graph.
EXPORTERS = ("torch", "onnxscript", "transformers")


@dataclass(frozen=True)
class Built:
    """A model file and the digest of everything that made it."""

    path: Path
    key: str


def run(recipe: Recipe, source: Built, context: Context, store: Store) -> Built:
    """Apply a recipe's steps one after another, starting at the first that is not in the store.

    Every step reads its parent from disk, so a resumed run computes what an unbroken one would.

    Raises:
        RequestError: a step lacks what it needs, found before the first step runs.
        ModelError: a step cannot be applied, or the runtime refuses its result.
    """
    steps = [(find_technique(step.technique), step.settings()) for step in told(recipe).steps]
    for entry, config in steps:
        _check_needs(entry, config, context)
    calibration = context.calibration.digest() if context.calibration is not None else ""
    built = source
    for entry, config in steps:
        parent = built
        key = digest(
            parent=parent.key,
            technique=entry.name,
            config=config.model_dump(mode="json"),
            data=calibration if "calibration" in entry.needs_of(config) else "",
            seed=context.seed,
            pair_sums=context.pair_sums,
            code=versions(),
        )

        def build(
            folder: Path, parent: Built = parent, entry: Technique = entry, config: object = config
        ) -> None:
            notes: list[str] = []
            listening = dataclasses.replace(context, note=notes.append)
            model = entry.apply(read_onnx(parent.path, check_weights=False), config, listening)
            write_onnx(model, folder / MODEL_FILE)
            _check_result(folder / MODEL_FILE, entry)
            if notes:
                (folder / NOTES).write_text(json.dumps(notes), encoding="utf-8")

        built = Built(store.step(key, build) / MODEL_FILE, key)
    return built


def versions() -> dict[str, str]:
    """What a result depends on besides its recipe: lissom's code and the packages below it."""
    return {
        "lissom": code_version(),
        "numpy": numpy.__version__,
        "onnx_ir": onnx_ir.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def torch_versions() -> dict[str, str]:
    """The same for what torch computes or exports."""
    found = versions()
    for name in EXPORTERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _check_needs(entry: Technique, config: Config, context: Context) -> None:
    if "calibration" in entry.needs_of(config) and context.calibration is None:
        raise RequestError(
            f"{entry.name} needs calibration data",
            where="the task",
            fix="give a task with calibration data, or leave this technique out",
        )


def _check_result(path: Path, entry: Technique) -> None:
    """A result the runtime refuses is a failure of the step, and failures are not stored."""
    try:
        open_session(path)
    except LissomError as error:
        raise ModelError(
            f"{entry.name} gave a graph that does not load: {error.what}",
            where=error.where,
            fix="leave this technique out with --technique, and please report the model",
        ) from None
