"""`lissom.compress`: search, then save the best as an artifact anyone can run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lissom._version import __version__
from lissom.artifact import MANIFEST, Manifest, copy_into, write_manifest
from lissom.errors import FolderError
from lissom.measure.records import Settings
from lissom.model import Model, open_model
from lissom.onnx_file import files_of, write_beside
from lissom.recipe.store import Store
from lissom.report.page import render_page
from lissom.report.results import Results, Row
from lissom.search.budget import Budget
from lissom.search.choose import Objective
from lissom.search.explore import Found, Request, search
from lissom.search.snippet import TOKENIZER, has_tokenizer
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.task import Task
from lissom.technique import Track, silent

WORKSPACE = ".lissom"
# What compress writes into its output folder; anything else there is not ours.
REPORT, RESULTS, RECIPE = "report.html", "results.json", "recipe.yaml"


@dataclass(frozen=True)
class Artifact:
    """One measured file of a search, which can be saved as a folder of its own."""

    row: Row
    found: Found
    model: Model

    @property
    def path(self) -> Path:
        """Where the model file lies now."""
        return self.found.files[self.row.name].path

    def save(self, folder: Path | str) -> Path:
        """Write model, recipe, report and manifest into a folder; the manifest comes last.

        Raises:
            FolderError: the folder is not writable or the disk is full.
        """
        folder = Path(folder)
        recipe = self.found.recipes[self.row.name]
        results = self.found.results
        # Without its manifest a folder is no artifact: a kill from here on leaves none half made.
        try:
            (folder / MANIFEST).unlink(missing_ok=True)
        except OSError as error:
            raise FolderError(
                f"cannot write: {error.strerror}", where=str(folder), fix="choose another folder"
            ) from None
        files = {file.name: file for file in files_of(self.path)}
        if has_tokenizer(self.model) and self.model.folder is not None:
            files[TOKENIZER] = self.model.folder / TOKENIZER
        digests = copy_into(folder, files)
        write_results(folder, results)
        write_beside(folder / RECIPE, recipe.to_yaml().encode())
        original = self.found.original
        write_manifest(
            folder,
            Manifest(
                lissom=__version__,
                name=self.row.name,
                model=self.path.name,
                files=digests,
                original={
                    "name": results.model,
                    "digest": original.key,
                    "bytes": results.original.measurement.footprint.bytes,
                },
                recipe=recipe.model_dump(mode="json"),
                target=results.target,
                exact_weight_bits=onnxruntime_target().exact_weight_bits,
                machine=results.machine.model_dump(mode="json"),
                measurement=self.row.measurement.model_dump(mode="json"),
            ),
        )
        return folder


@dataclass(frozen=True)
class Result:
    """What `compress` found. `print(result)` shows the table."""

    found: Found
    model: Model
    _temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def results(self) -> Results:
        """Every number, as one record."""
        return self.found.results

    @property
    def best(self) -> Artifact | None:
        """The chosen file, or None when nothing fits the budget."""
        row = self.results.chosen
        return None if row is None else Artifact(row, self.found, self.model)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Every file that was built and measured."""
        return tuple(Artifact(row, self.found, self.model) for row in self.results.rows)

    def __str__(self) -> str:
        from lissom.report.terminal import as_text

        return as_text(self.results)


def compress(
    model: Model | str | Path | Any,
    task: Task | None = None,
    *,
    target: str = "onnxruntime",
    budget: Budget | None = None,
    objective: Objective = "balanced",
    folder: Path | str | None = None,
    example_inputs: Any = None,
    settings: Settings | None = None,
    techniques: tuple[str, ...] = (),
    seed: int = 0,
    track: Track = silent,
    waiting: Callable[[], None] = lambda: None,
) -> Result:
    """Make a model smaller and faster, measured next to the original.

    Args:
        model: an `.onnx` file, a Hugging Face folder, `file.py:factory`, or an `nn.Module`.
        task: what the model must do; without one quality is not measured.
        target: the runtime it will live in.
        budget: limits on the result. Where it names no drop, 1pt is allowed with labels, 2pt of
            fidelity without, 2% for metrics that are no share of one.
        objective: what to favour inside the budget: "balanced", "size" or "latency".
        folder: where finished steps are kept, so that a killed run goes on, and where the best is
            saved; a temporary folder that lives as long as the result when None.
        example_inputs: what an `nn.Module` is exported with.
        settings: how latency is measured.
        techniques: keep to these; empty tries all that make sense.
        seed: seeds whatever is random.
        track: shows progress.
        waiting: called when another run holds the folder.

    Raises:
        LissomError: the model, the task, the budget or the folder is wrong.
    """
    request = Request(
        target=target,
        budget=budget or Budget(),
        objective=objective,
        settings=settings or Settings(),
        techniques=techniques,
        seed=seed,
        track=track,
    )
    opened = model if isinstance(model, Model) else open_model(model, example_inputs=example_inputs)
    temporary = tempfile.TemporaryDirectory(prefix="lissom-") if folder is None else None
    place = Path(temporary.name if temporary is not None else folder or ".")
    with _workspace(place, waiting) as store:
        found = search(opened, task, request, store)
        result = Result(found, opened, temporary)
        if temporary is None:
            _save(result, place)
    return result


def _save(result: Result, folder: Path) -> None:
    """Write the best; where nothing fits, the report alone, and no artifact of an earlier run."""
    if result.best is not None:
        result.best.save(folder)
        return
    (folder / MANIFEST).unlink(missing_ok=True)
    write_results(folder, result.results)


def write_results(folder: Path, results: Results) -> None:
    """Write the report and the numbers behind it."""
    write_beside(folder / RESULTS, (results.model_dump_json(indent=2) + "\n").encode())
    write_beside(folder / REPORT, render_page(results).encode())


@contextmanager
def _workspace(folder: Path, waiting: Callable[[], None]) -> Iterator[Store]:
    check_folder(folder)
    store = Store(folder / WORKSPACE)
    with store.alone(waiting):
        yield store


def check_folder(folder: Path) -> None:
    """Refuse to write among files that are not lissom's.

    Raises:
        FolderError: the path is a file, or a folder with other content.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError(
            "the output is a file, not a folder", where=str(folder), fix="name a folder with -o"
        )
    if folder.is_dir() and not (folder / WORKSPACE).is_dir() and any(folder.iterdir()):
        raise FolderError(
            "the output folder is not empty and was not made by lissom",
            where=str(folder),
            fix="name a new or empty folder with -o",
        )

