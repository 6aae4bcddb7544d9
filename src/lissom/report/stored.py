"""Results read back from an output folder, so that its page can be made again or compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from lissom.artifact import MANIFEST, RESULTS, Manifest, read_manifest
from lissom.errors import FolderError
from lissom.report.results import Results


@dataclass(frozen=True)
class Stored:
    """What a run left in its folder; `manifest` is None where it saved no artifact."""

    folder: Path
    results: Results
    manifest: Manifest | None


def read_stored(folder: Path | str) -> Stored:
    """The results of a folder that `compress`, `run` or `save` wrote, and its manifest.

    Raises:
        FolderError: there are none, or they are damaged or of another version of lissom.
    """
    folder = Path(folder)
    path = folder / RESULTS
    try:
        raw = path.read_bytes()
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        what = "this folder holds no results of lissom"
        if not folder.exists():
            what = "there is no such folder"
        elif not missing:
            what = f"the results cannot be read: {error.strerror or error}"
        raise FolderError(
            what,
            where=str(path if folder.exists() else folder),
            fix="name a folder that `lissom compress` or `lissom run` wrote",
        ) from None
    _check_version(raw, path)
    try:
        results = Results.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise FolderError(
            f"the results are damaged, or of another version of lissom: "
            f"{f'{place}: ' if place else ''}{first['msg']}",
            where=str(path),
            fix="run `lissom compress` or `lissom run` again; finished steps are not repeated",
        ) from None
    manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else None
    return Stored(folder, results, manifest)


class _Versioned(BaseModel):
    """What results of every version have."""

    schema_version: int
    lissom: str = ""


def _check_version(raw: bytes, path: Path) -> None:
    """Refuse results of another schema, whose fields may mean something else here."""
    reads = Results.model_fields["schema_version"].default
    try:
        found = _Versioned.model_validate_json(raw)
    except ValidationError:
        return  # damaged, which is told with the place
    if found.schema_version != reads:
        raise FolderError(
            f"the results have schema version {found.schema_version}, and this lissom reads "
            f"version {reads}",
            where=str(path),
            fix=f"use lissom {found.lissom}, which wrote them, or run it again"
            if found.lissom
            else "run `lissom compress` or `lissom run` again",
        )
