"""The folder that is deployed: model files and a manifest that says where they come from."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lissom.errors import FolderError
from lissom.onnx_file import write_beside

MANIFEST = "manifest.json"
FORMAT = 1


class Manifest(BaseModel):
    """What an artifact is.

    Attributes:
        files: SHA-256 of every file of the artifact, by its path in the folder.
        original: name, digest and bytes of the model it was made from.
        recipe: the steps that made it.
        measurement: what was measured, next to the original; outside of any digest.
        exact_weight_bits: widest weights the target computes exactly; an artifact with 8 may
            compute wrong sums on a machine whose own value is 7.
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
    exact_weight_bits: int
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
        part = final.with_name(final.name + ".part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, part)
            os.replace(part, final)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise FolderError(
                f"cannot write {name}: {error.strerror or error}",
                where=str(folder),
                fix="free some space or choose another folder with -o",
            ) from None
        digests[name] = sha256_of(final)
    return digests


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file, read in pieces."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, last of all files: an artifact that has one is whole."""
    text = manifest.model_dump_json(indent=2) + "\n"
    write_beside(folder / MANIFEST, text.encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact.

    Raises:
        FolderError: there is none, or it is not one of ours.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
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
