"""The JSON documents of the commands that print a list, and where each command's schema is.

Imported when a document is made: pydantic would slow `lissom --help` down.
"""

from __future__ import annotations

import importlib
from typing import Any

from pydantic import BaseModel, ConfigDict

from lissom.errors import unknown
from lissom.recipe.schema import Recipe
from lissom.report.results import Results

# What `lissom schema NAME` describes: the record, by the module it is in.
DOCUMENTS = {
    "results": "lissom.report.results:Results",
    "check": "lissom.search.check:Checked",
    "compare": "lissom.report.compare:Comparison",
    "diagnose": "lissom.report.diagnosis:Diagnosis",
    "doctor": "lissom.report.doctor:Examination",
    "error": "lissom.cli.documents:Failure",
    "inspect": "lissom.report.inspect:Inspection",
    "manifest": "lissom.artifact:Manifest",
    "pack": "lissom.cli.documents:PackedArchive",
    "plan": "lissom.cli.documents:Plan",
    "recipes": "lissom.cli.documents:Recipes",
    "report": "lissom.cli.documents:Rebuilt",
    "sensitivity": "lissom.tables:Sensitivity",
    "techniques": "lissom.cli.documents:Techniques",
    "unpack": "lissom.cli.documents:ArchiveContent",
}


class Document(BaseModel):
    """One JSON document; the version changes when a field goes or changes its meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1


class PlannedStep(BaseModel):
    """A step of a recipe on a model: seconds and bytes of memory are estimates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    technique: str
    config: dict[str, Any]
    form: str
    needs: tuple[str, ...]
    leaves: tuple[str, ...]
    destroys: tuple[str, ...]
    exports: bool
    seconds: float | None
    memory: int | None


class Plan(Document):
    """What `lissom plan` tells: the steps in order."""

    steps: tuple[PlannedStep, ...]


class Recipes(Document):
    """What `lissom recipes` tells."""

    recipes: tuple[Recipe, ...]


class TechniqueEntry(BaseModel):
    """A technique: what it works on and needs, and its settings with their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    form: str
    summary: str
    needs: tuple[str, ...]
    settings: dict[str, Any]


class Techniques(Document):
    """What `lissom techniques` tells, by name."""

    techniques: tuple[TechniqueEntry, ...]


class Rebuilt(Document):
    """What `lissom report` wrote: the page's path, and the numbers it shows."""

    report: str
    results: Results


class PackedArchive(Document):
    """What `lissom pack` wrote; sizes are bytes.

    Attributes:
        archive: its path.
        bytes: its size.
        original_bytes: that of the files in it.
        repeated_bytes: how many of those are there more than once, and stored once.
        notes: what was left out, or could not be parsed and is kept as plain bytes.
    """

    archive: str
    bytes: int
    original_bytes: int
    repeated_bytes: int
    files: int
    tensors: int
    seconds: float
    notes: tuple[str, ...]


class ArchiveFile(BaseModel):
    """A file in an archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    container: str
    bytes: int
    sha256: str


class ArchiveTensor(BaseModel):
    """A tensor in an archive; `stored` is null for a small one that is stored among others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    stored: int | None


class ArchiveContent(Document):
    """What `lissom unpack` wrote or lists.

    Attributes:
        archive: its path.
        archive_bytes: its size; null where it came from stdin.
        output: what was written, or null.
        bytes: of all files in it.
        tensors: with --list all of them, with --tensor the one.
    """

    archive: str
    archive_bytes: int | None
    output: str | None
    bytes: int
    files: tuple[ArchiveFile, ...]
    tensors: tuple[ArchiveTensor, ...]
    seconds: float


class Wrong(BaseModel):
    """What is wrong, where, and how to fix it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    where: str | None
    fix: str | None


class Failure(Document):
    """What any command prints that fails."""

    error: Wrong


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of a document.

    Raises:
        RequestError: there is no such document.
    """
    if name not in DOCUMENTS:
        raise unknown("document", name, [*DOCUMENTS, "recipe"])
    module, _, kind = DOCUMENTS[name].partition(":")
    record: type[BaseModel] = getattr(importlib.import_module(module), kind)
    return record.model_json_schema(mode="serialization")
