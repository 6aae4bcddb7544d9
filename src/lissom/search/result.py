"""What a run gives back: every measured file, each of which can be saved as an artifact."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lissom._version import __version__
from lissom.artifact import (
    RECIPE,
    REPORT,
    RESULTS,
    Manifest,
    companions,
    copy_into,
    remove_artifact,
    sha256_of,
    write_manifest,
    write_text,
)
from lissom.errors import ModelError
from lissom.model import Model
from lissom.onnx_file import files_of
from lissom.recipe.stages import torch_model
from lissom.report.page import render_page
from lissom.report.results import Results, Row
from lissom.search.folder import refuse_to_overwrite, typed
from lissom.search.ready import Found
from lissom.targets.named import DEFAULT, find_target

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Artifact:
    """One measured file of a search, which can be saved as a folder of its own."""

    row: Row
    found: Found = field(repr=False)
    model: Model
    # Keeps a temporary workspace alive as long as someone may save from it.
    workspace: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """Where the model file lies now."""
        return self.found.files[self.row.name].path

    def torch(self) -> nn.Module:
        """The torch module behind this file, as the last step on a module left it.

        Raises:
            ModelError: the model came as an ONNX file, or no step changed a module.
        """
        if self.model.kind == "onnx":
            raise ModelError(
                "this model came as an ONNX file: there is no torch module",
                fix="use path, or start from a Hugging Face folder or a factory",
            )
        stages = [row.name for row in self.found.results.rows]
        before = stages[: stages.index(self.row.name) + 1]
        folders = [self.found.modules[name] for name in before if name in self.found.modules]
        return torch_model(self.model, folders[-1] if folders else None).module

    def save(self, folder: Path | str) -> Path:
        """Write model, recipe, report and manifest into a folder; the manifest comes last.

        Raises:
            FolderError: the folder is not writable, the disk is full, or files that are not
                lissom's, or an artifact made of another model, are in the way.
        """
        folder = Path(folder)
        files = {file.name: file for file in files_of(self.path)}
        files |= companions(self.model)
        refuse_to_overwrite(folder, [*files, RECIPE, RESULTS, REPORT], self.model)
        remove_artifact(folder, keep=files)
        digests = copy_into(folder, files)
        recipe = self.found.recipes[self.row.name]
        write_text(folder / RECIPE, recipe.to_yaml())
        digests[RECIPE] = sha256_of(folder / RECIPE)
        manifest = self._manifest(digests)
        write_results(folder, self.found.results, manifest)
        write_manifest(folder, manifest)
        return folder

    def _manifest(self, files: dict[str, str]) -> Manifest:
        results = self.found.results
        measured = self.row.measurement.everywhere
        runtimes = tuple(each.runtime or DEFAULT for each in measured)
        return Manifest(
            lissom=__version__,
            name=self.row.name,
            model=self.path.name,
            files=files,
            original={
                "name": results.model,
                "file": typed(self.model),
                "digest": self.found.original.key,
                "bytes": results.original.measurement.footprint.bytes,
            },
            recipe=self.found.recipes[self.row.name].model_dump(mode="json"),
            target=results.target,
            runtimes=runtimes,
            cpu=results.cpu,
            pair_sums=any(find_target(name, results.cpu).pair_sums for name in runtimes),
            machine=results.machine.model_dump(mode="json"),
            measurement=self.row.measurement.model_dump(mode="json"),
            budget=results.budget,
            settings=results.settings.model_dump(mode="json"),
            task=results.task,
        )


@dataclass(frozen=True)
class Result:
    """What `compress` found. `print(result)` shows the table."""

    found: Found = field(repr=False)
    model: Model
    workspace: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    @property
    def results(self) -> Results:
        """Every number, as one record."""
        return self.found.results

    @property
    def best(self) -> Artifact | None:
        """The chosen file, or None when nothing fits the budget."""
        row = self.results.chosen
        return None if row is None else self._artifact(row)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Every file that was built and measured."""
        return tuple(map(self._artifact, self.results.rows))

    def _artifact(self, row: Row) -> Artifact:
        return Artifact(row, self.found, self.model, self.workspace)

    def __str__(self) -> str:
        from lissom.report.terminal import as_text

        return as_text(self.results)


def save_best(result: Result, folder: Path) -> None:
    """Write the best; where nothing fits, the report alone, and no artifact of an earlier run.

    Raises:
        FolderError: the folder is not writable or the disk is full.
    """
    if result.best is not None:
        result.best.save(folder)
        return
    remove_artifact(folder)
    write_results(folder, result.results)


def write_results(folder: Path, results: Results, manifest: Manifest | None = None) -> None:
    """Write the report and the numbers behind it; `manifest` of the artifact saved beside them.

    Raises:
        FolderError: the folder is not writable or the disk is full.
    """
    write_text(folder / RESULTS, results.model_dump_json(indent=2) + "\n")
    write_text(folder / REPORT, render_page(results, manifest))
