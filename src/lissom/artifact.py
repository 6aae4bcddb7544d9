"""The folder that is deployed: model files and a manifest that says where they come from."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lissom.errors import FolderError
from lissom.onnx_file import failing_as_folder_error, write_beside

MANIFEST, RECIPE, TOKENIZER = "manifest.json", "recipe.yaml", "tokenizer.json"
REPORT, RESULTS = "report.html", "results.json"
FORMAT = 1

# What an artifact's folder may hold of ours, and what a killed run leaves of it: see write_beside.
OURS = re.compile(r"model\.onnx(\.data)?|manifest\.json|recipe\.yaml|tokenizer\.json")
HALF_WRITTEN = re.compile(rf"\.({OURS.pattern}|report\.html|results\.json)\.\d+")


class Manifest(BaseModel):
    """What an artifact is.

    Attributes:
        files: SHA-256 of every file of the artifact, by its path in the folder.
        original: name, digest and bytes of the model it was made from.
        recipe: the steps that made it.
        measurement: what was measured, next to the original; outside of any digest.
        cpu: the class of processor it was built for.
        pair_sums: it was built for kernels that add pairs of products in 16 bits; one that was
            not may compute wrong sums on such a machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    lissom: str
    name: str
    model: str
    files: dict[str, str]
    original: dict[str, Any]
    recipe: dict[str, Any]
    target: str
    cpu: str
    pair_sums: bool
    machine: dict[str, Any]
    measurement: dict[str, Any]


def copy_into(folder: Path, files: dict[str, Path]) -> dict[str, str]:
    """Copy files to their places in a folder, each whole or not at all; their SHA-256 digests.

    Raises:
        FolderError: the folder is not writable or the disk is full.
    """
    digests = {}
    for name, source in files.items():
        final = folder / name
        beside = folder / f".{name}.{os.getpid()}"
        with failing_as_folder_error(final):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, beside)
                os.replace(beside, final)
            finally:
                beside.unlink(missing_ok=True)
            digests[name] = sha256_of(final)
    return digests


def remove_artifact(folder: Path, *, keep: Iterable[str] = ()) -> None:
    """Remove an artifact from its folder, and what a killed run left half written.

    The manifest goes first: without it a folder is no artifact, so a kill leaves none half there.

    Raises:
        FolderError: the folder is not writable.
    """
    with failing_as_folder_error(folder / MANIFEST):
        (folder / MANIFEST).unlink(missing_ok=True)
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        for entry in entries:
            stale = OURS.fullmatch(entry.name) and entry.name not in keep
            if stale or HALF_WRITTEN.fullmatch(entry.name):
                entry.unlink()


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file, read in pieces."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        FolderError: the folder is not writable or the disk is full.
    """
    with failing_as_folder_error(path):
        write_beside(path, text.encode())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, last of all files: an artifact that has one is whole.

    Raises:
        FolderError: the folder is not writable or the disk is full.
    """
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact.

    Raises:
        FolderError: there is none, it is not one of ours, or a newer lissom made it.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError:
        raise FolderError(
            "this folder holds no lissom artifact", where=str(path), fix="name an output folder"
        ) from None
    except ValidationError as error:
        raise FolderError(
            f"the manifest is damaged: {error.errors()[0]['msg']}",
            where=str(path),
            fix="make the artifact again",
        ) from None
    if manifest.format != FORMAT:
        raise FolderError(
            f"the manifest has format {manifest.format}, and this lissom reads format {FORMAT}",
            where=str(path),
            fix=f"use lissom {manifest.lissom}, which made it, or make the artifact again",
        )
    return manifest
