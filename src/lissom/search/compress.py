"""`lissom.compress`: search, then save the best as an artifact anyone can run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lissom._version import __version__
from lissom.artifact import (
    MANIFEST,
    RECIPE,
    REPORT,
    RESULTS,
    TOKENIZER,
    Manifest,
    copy_into,
    remove_artifact,
    sha256_of,
    write_manifest,
    write_text,
)
from lissom.errors import FolderError, TaskError
from lissom.measurement.records import Settings
from lissom.model import Model, open_model
from lissom.onnx_file import files_of
from lissom.recipe.store import Store
from lissom.report.page import render_page
from lissom.report.results import Results, Row
from lissom.search.budget import Budget
from lissom.search.choose import Objective
from lissom.search.explore import Found, Request, search
from lissom.search.snippet import has_tokenizer
from lissom.targets.onnxruntime import onnxruntime_target
from lissom.task import Task
from lissom.technique import Track, silent

# Where compress keeps its finished steps; a folder that has it is ours.
WORKSPACE = ".lissom"


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

    def save(self, folder: Path | str) -> Path:
        """Write model, recipe, report and manifest into a folder; the manifest comes last.

        Raises:
            FolderError: the folder is not writable, the disk is full, or files that are not
                lissom's are in the way.
        """
        folder = Path(folder)
        files = {file.name: file for file in files_of(self.path)}
        if has_tokenizer(self.model) and self.model.folder is not None:
            files[TOKENIZER] = self.model.folder / TOKENIZER
        _refuse_to_overwrite(folder, [*files, RECIPE, RESULTS, REPORT])
        remove_artifact(folder, keep=files)
        digests = copy_into(folder, files)
        write_results(folder, self.found.results)
        recipe = self.found.recipes[self.row.name]
        write_text(folder / RECIPE, recipe.to_yaml())
        digests[RECIPE] = sha256_of(folder / RECIPE)
        write_manifest(folder, self._manifest(digests))
        return folder

    def _manifest(self, files: dict[str, str]) -> Manifest:
        results = self.found.results
        return Manifest(
            lissom=__version__,
            name=self.row.name,
            model=self.path.name,
            files=files,
            original={
                "name": results.model,
                "digest": self.found.original.key,
                "bytes": results.original.measurement.footprint.bytes,
            },
            recipe=self.found.recipes[self.row.name].model_dump(mode="json"),
            target=results.target,
            exact_weight_bits=onnxruntime_target().exact_weight_bits,
            machine=results.machine.model_dump(mode="json"),
            measurement=self.row.measurement.model_dump(mode="json"),
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
    techniques: Sequence[str] = (),
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
    if task is not None and not isinstance(task, Task):
        raise TaskError(
            f"the task is {type(task).__name__!r}, not a lissom.Task",
            fix="lissom.Task(calibration=batches, validation=(inputs, targets), metric=...)",
        )
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
    with _workspace(place, opened, waiting) as store:
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
    remove_artifact(folder)
    write_results(folder, result.results)


def write_results(folder: Path, results: Results) -> None:
    """Write the report and the numbers behind it.

    Raises:
        FolderError: the folder is not writable or the disk is full.
    """
    write_text(folder / RESULTS, results.model_dump_json(indent=2) + "\n")
    write_text(folder / REPORT, render_page(results))


@contextmanager
def _workspace(folder: Path, model: Model, waiting: Callable[[], None]) -> Iterator[Store]:
    check_folder(folder, model)
    store = Store(folder / WORKSPACE)
    with store.alone(waiting):
        yield store


def check_folder(folder: Path, model: Model | None = None) -> None:
    """Refuse to write among files that are not lissom's, or over the model itself.

    Raises:
        FolderError: the path is a file, a folder with other content, or the model's own folder.
    """
    names = _names_in(folder)
    if names and WORKSPACE not in names:
        raise FolderError(
            "the output folder is not empty and was not made by lissom",
            where=str(folder),
            fix="name a new or empty folder with -o",
        )
    file = model.path if model is not None else None
    if names and file is not None and file.resolve().parent == folder.resolve():
        raise FolderError(
            f"the model {file.name} lies in the output folder, where the result would replace it",
            where=str(folder),
            fix="name another folder with -o, or move the model elsewhere",
        )


def _names_in(folder: Path) -> set[str]:
    """The entries of a folder, none if it does not exist."""
    try:
        return {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except NotADirectoryError:
        raise FolderError(
            "the output is a file, not a folder" if folder.is_file() else "a file is in the way",
            where=str(folder),
            fix="name a folder with -o",
        ) from None
    except OSError as error:
        raise FolderError(
            f"the output folder cannot be read: {error.strerror or error}",
            where=str(folder),
            fix="name another folder with -o",
        ) from None


def _refuse_to_overwrite(folder: Path, files: Iterable[str]) -> None:
    """Files of these names may be replaced only in a folder that lissom made."""
    names = _names_in(folder)
    ours = WORKSPACE in names or MANIFEST in names
    taken = sorted(names.intersection(files))
    if taken and not ours:
        raise FolderError(
            f"the folder holds {', '.join(taken)}, not written by lissom",
            where=str(folder),
            fix="save to a new folder, or move these files away",
        )
