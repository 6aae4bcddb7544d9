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

from lissom.errors import FolderError, ModelError
from lissom.model import Model, read_json, transformer_folder
from lissom.onnx_file import failing_as_folder_error, write_beside

MANIFEST, RECIPE, TOKENIZER = "manifest.json", "recipe.yaml", "tokenizer.json"
REPORT, RESULTS = "report.html", "results.json"
FORMAT = 1

# What transformers and optimum read beside a model: copied as it is from where the model came.
CONFIG = "config.json"
COMPANIONS = (
    CONFIG, "generation_config.json", "preprocessor_config.json", "processor_config.json",
    TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "vocab.txt", "vocab.json", "merges.txt", "bpe.codes",
    "sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model",
)  # fmt: skip
# Of these, what lissom itself reads to make the data of a task, whatever folder the model lies in.
READ = (TOKENIZER, "preprocessor_config.json", "processor_config.json")
# What an artifact's folder may hold of ours, and what a killed run leaves of it: see write_beside.
OURS = re.compile(
    r"model\.onnx(\.data)?|manifest\.json|recipe\.yaml|" + "|".join(map(re.escape, COMPANIONS))
)
HALF_WRITTEN = re.compile(rf"\.({OURS.pattern}|report\.html|results\.json)\.\d+")


class Manifest(BaseModel):
    """What an artifact is.

    Attributes:
        files: SHA-256 of every file of the artifact, by its path in the folder.
        original: name, digest and bytes of the model it was made from.
        recipe: the steps that made it.
        measurement: what was measured, next to the original; outside of any digest.
        runtimes: the names of the runtimes it was built for and measured in.
        cpu: the class of processor it was built for.
        pair_sums: it was built for kernels that add pairs of products in 16 bits; one that was
            not may compute wrong sums on such a machine.
        budget: the limits it was chosen inside, by name, as they were typed; what
            `lissom check --measure` holds it to.
        settings: how it was timed.
        task: what it was judged by, in words or as `--task` takes it.
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
    runtimes: tuple[str, ...] = ("onnxruntime",)
    cpu: str
    pair_sums: bool
    machine: dict[str, Any]
    measurement: dict[str, Any]
    budget: dict[str, str] = {}
    settings: dict[str, Any] = {}
    task: str = ""


def companions(model: Model) -> dict[str, Path]:
    """The files that let transformers and optimum load what was made of a model, by name.

    They come from the Hugging Face folder that the model is, or that an .onnx file lies in,
    whether beside config.json or in its subfolder onnx. Of a folder that is none, only tokenizer
    and preprocessing, so that a task means the same beside the artifact. A sentence encoder's
    modules.json is not among them: its pooling is in the graph, and its loader would pool again.
    """
    if model.folder is None:
        return {}
    folders = [model.folder, _transformer_beside(model)]
    if model.folder.name == "onnx" and not _is_huggingface(model.folder):
        folders.insert(0, model.folder.parent)
    names = COMPANIONS if any(map(_is_huggingface, folders)) else READ
    found: dict[str, Path] = {}
    for folder in folders:
        found |= {name: folder / name for name in names if (folder / name).is_file()}
    return found


def _transformer_beside(model: Model) -> Path:
    """Where the folder keeps its transformer; a modules.json that is none says nothing."""
    assert model.folder is not None
    try:
        return transformer_folder(model.folder)
    except ModelError:
        return model.folder


def _is_huggingface(folder: Path) -> bool:
    """Whether a folder's config.json is that of a transformers model, or of timm's."""
    try:
        config = read_json(folder / CONFIG)
    except ModelError:
        return False
    return isinstance(config, dict) and bool(config.keys() & {"model_type", "pretrained_cfg"})


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
        there = folder.is_dir()
        raise FolderError(
            "this folder holds no lissom artifact" if there else "there is no such folder",
            where=str(path if there else folder),
            fix="name a folder that `lissom compress` or `lissom run` wrote",
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
