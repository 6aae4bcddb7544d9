"""Run a recipe from a torch module to an ONNX file, keeping what every step leaves."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lissom.model import Model
from lissom.recipe.following import told
from lissom.recipe.prepare import Prepared, prepare
from lissom.recipe.run import NOTES, Built, run, torch_versions
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store, digest
from lissom.technique import Context, find_technique

if TYPE_CHECKING:
    from lissom.nn.network import TorchModel


@dataclass(frozen=True)
class Stage:
    """What one step left.

    Attributes:
        step: the step.
        built: the model after it as an ONNX file.
        torch: the folder with weights.safetensors and edits.json while it is a torch module.
        notes: what the user should know of this step.
    """

    step: Step
    built: Built
    torch: Path | None
    notes: tuple[str, ...]


def stages(
    recipe: Recipe, model: Model, original: Prepared, context: Context, store: Store
) -> Iterator[Stage]:
    """Run the steps one after another, starting at the first that is not in the store.

    Every step reads what its parent left from disk, so a resumed run ends with the same bytes.
    Steps on a torch module leave safetensors and edits, and an export that can be measured.

    Raises:
        LissomError: a step cannot be applied.
    """
    torch: Path | None = None
    key = digest(model=model.digest())
    built = original.built
    for step in told(recipe).steps:
        if find_technique(step.technique).form == "torch":
            torch, key = _torch_step(step, model, torch, key, context, store)
            made = _exported(model, torch, key, context, store)
            built = made.built
            yield Stage(step, built, torch, (*_read_notes(torch), *made.notes))
        else:
            built = run(Recipe(name=recipe.name, steps=(step,)), built, context, store)
            yield Stage(step, built, None, _read_notes(built.path.parent))


def torch_model(model: Model, folder: Path | None) -> TorchModel:
    """The module that a step left in `folder`; the original where there is none.

    Raises:
        ModelError: the folder does not belong to this model.
    """
    from lissom.nn.export import network_of
    from lissom.nn.network import TorchModel, load_torch

    network = network_of(model)
    return TorchModel.of(network) if folder is None else load_torch(network, folder)


def _torch_step(
    step: Step, model: Model, parent: Path | None, key: str, context: Context, store: Store
) -> tuple[Path, str]:
    """Apply one step to a module; the folder of its result, and its key."""
    from lissom.nn.network import save_torch

    entry, settings = find_technique(step.technique), step.settings()
    task = context.task
    key = digest(
        parent=key,
        technique=entry.name,
        config=settings.model_dump(mode="json"),
        reads=settings.reads(),
        data=task.digest() if task is not None else "",
        seed=context.seed,
        code=torch_versions(),
    )
    # Checkpoints live here until the step is done; the next run of a killed one finds them.
    workspace = store.folder / "work" / key

    def build(folder: Path) -> None:
        workspace.mkdir(parents=True, exist_ok=True)
        given = dataclasses.replace(
            context, workspace=workspace, original=_once(lambda: torch_model(model, None))
        )
        before = torch_model(model, parent)
        after = entry.apply(before, settings, given)
        save_torch(after, folder)
        _write_notes(folder, after.notes)

    folder = store.step(key, build)
    shutil.rmtree(workspace, ignore_errors=True)
    return folder, key


def _exported(model: Model, torch: Path, key: str, context: Context, store: Store) -> Prepared:
    """The ONNX file of a step's module, so that the step can be measured."""
    exportable = dataclasses.replace(
        model, kind="factory", factory=_once(lambda: torch_model(model, torch).network)
    )
    return prepare(exportable, store, context.track, key=key)


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    return cache(make)


def _write_notes(folder: Path, notes: tuple[str, ...]) -> None:
    (folder / NOTES).write_text(json.dumps(list(notes)), encoding="utf-8")


def _read_notes(folder: Path) -> tuple[str, ...]:
    path = folder / NOTES
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ()
